"""The program of a step of one row, one number at a time: what is built for other machines.

It makes the sums of `tile` in the same order, so a machine that rounds as this one does gives the
same bits. Four rows of k are one pass over the units: compilers turn that into vectors, as wide as
they like, since each unit's sum is its own. A mean is the exception: it is summed as the lanes of
the machine are whose bits are wanted (`row_means`).

    step(weights, state, x, y, work)     one for each cell and sizes

``weights`` is what `RowStep.packed` gives, ``state`` the states that are read, one behind the
other, ``work`` `RowStep.work` numbers that nobody needs between calls.

With ``ranges`` of operands there are ``offsets`` and ``bytes`` behind ``weights``; operands are
rounded to whole 127ths of their range, stored with 128 added:

    q = round(127 clip(v / range))    sum = S + scale * float(offset + sum over k of w q)

Integer sums are exact, so only the scales and the equations round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from grus.equations import Const, Expr, Input, Name, State, Weight
from grus.equations.expr import parts, walk
from grus.kernels.builder import Builder
from grus.kernels.functions import SINGLE, choose, compute
from grus.kernels.loops import BYTE, INT8, INT32, Argument, Function, Type, Value
from grus.kernels.machine import Target
from grus.kernels.one_row import ITEM, LEVELS, Block, RowStep
from grus.kernels.plan import ONE, is_mean

TOGETHER = 4
"""Rows of weights in one pass over the sums. With one, each sum is loaded and stored for every
multiply-add; eight were no faster than four on AVX-512, and need more registers than an M4 has."""
FURTHER = "state: pointer, x: pointer, y: pointer, work: pointer"
"""Parameters of a step, behind its weights."""


@dataclass(frozen=True)
class ScalarTarget(Target):
    """One number at a time, in the arithmetic of the machine."""

    @cached_property
    def vector(self) -> Type:
        """A number."""
        return self.number

    @cached_property
    def integers(self) -> Type:
        """An integer as wide."""
        return self.integer


def products(target: Target) -> Function:
    """``products(sums, weights, x, units, depth)``: sums += weights.T @ x, in the order of k."""
    parameters = "sums: pointer, weights: pointer, x: pointer, units, depth"
    f = Builder(target, "products", parameters, alone=True)
    sums, weights, x, units, depth = f.parameters

    def passes(first: Argument, stop: Argument, together: int) -> None:
        with f.each(first, stop, together) as k:
            at = f.at(x, f.mul(k, ITEM))
            numbers = [_load(f, f.at(at, ITEM * i)) for i in range(together)]
            rows = [f.at(weights, f.mul(f.mul(f.add(k, i), units), ITEM)) for i in range(together)]
            with f.each(0, units, 1) as j:
                column = f.mul(j, ITEM)
                place = f.at(sums, column)
                total = _load(f, place)
                for row, number in zip(rows, numbers, strict=True):
                    total = f.multiply_add(number, _load(f, f.at(row, column)), total)
                f.do("store", total, place, of=target.number, detail=ITEM)

    whole = f.mul(f.let("div", depth, TOGETHER), TOGETHER)
    passes(0, whole, TOGETHER)
    passes(whole, depth, 1)
    return f.finished()


def byte_products(target: Target) -> Function:
    """``byte_products(sums, weights, offsets, scales, x, units, depth)``: sums += scales *
    (offsets + weights @ x), weights int8 [unit][k], x bytes."""
    parameters = "sums: pointer, weights: pointer, offsets: pointer, scales: pointer, x: pointer"
    f = Builder(target, "byte_products", f"{parameters}, units, depth", alone=True)
    sums, weights, offsets, scales, x, units, depth = f.parameters
    with f.each(0, units, 1) as j:
        row, column = f.at(weights, f.mul(j, depth)), f.mul(j, ITEM)
        first = f.let("load", f.at(offsets, column), type=INT32, detail=ITEM)
        with f.loop(0, depth, 1, [first]) as loop:
            weight = f.let("load", f.at(row, loop.index), type=INT8, detail=1)
            number = f.let("load", f.at(x, loop.index), type=BYTE, detail=1)
            loop.next(f.let("add", loop.carried[0], f.let("byte_product", weight, number)))
        whole = f.let("convert", loop.carried[0], type=target.number)
        place = f.at(sums, column)
        total = f.multiply_add(whole, _load(f, f.at(scales, column)), _load(f, place))
        f.do("store", total, place, of=target.number, detail=ITEM)
    return f.finished()


def _load(f: Builder, place: Value) -> Value:
    return f.let("load", place, type=f.target.number, detail=ITEM)


def row_function(step: RowStep, target: Target, name: str) -> Function:
    """The function of a step."""
    return _Writer(step, target, name).write()


class _Writer:
    """The function of a step being built."""

    def __init__(self, step: RowStep, target: Target, name: str) -> None:
        self.f = Builder(target, name, f"{step.reads}, {FURTHER}")
        self.step, self.plan = step, step.plan

    def write(self) -> Function:
        """Products with inputs, then stage by stage, then the next states."""
        # Chains lie side by side in both arrays, so that those with biases are few copies.
        for biased, names in groupby(self.step.chains, self.step.weights.of.__contains__):
            self.start(biased, list(names))
        for k in range(len(self.plan.hoisted_loops)):
            self.multiply(k)
        number = len(self.plan.hoisted_loops)
        for at, stage in enumerate(self.plan.stages):
            for _ in stage.groups:
                self.multiply(number)
                number += 1
            if stage.axis == ONE:
                for name, expr in stage.equations:
                    self.number(name, expr)
            else:
                self.elements(at)
        for key, (first, count) in self.step.rows.of.items():
            if str(key).startswith("next "):
                state = self.step.next_state(str(key).removeprefix("next "))
                self.copy(self.row("state", state), self.at("work", first), count)
        return self.f.finished()

    def at(self, array: str, first: int) -> Value:
        """The address of a number of an array."""
        return self.f.at(self.f.named[array], ITEM * first)

    def row(self, array: str, name: object) -> Value:
        """The address of a named row."""
        step = self.step
        places = {"work": step.rows, "state": step.states, "weights": step.weights}
        return self.at(array, places[array].of[name][0])

    def copy(self, to: Value, source: Value | float, count: int) -> None:
        """Numbers, or one number that many times."""
        with self.f.each(0, count, 1) as j:
            offset, value = self.f.mul(j, ITEM), source
            if isinstance(source, Value):
                value = _load(self.f, self.f.at(source, offset))
            self.store(value, self.f.at(to, offset))

    def store(self, value: Argument, place: Value) -> None:
        """Store a number."""
        self.f.do("store", value, place, of=self.f.target.number, detail=ITEM)

    def start(self, biased: bool, names: Sequence[str]) -> None:
        """Chains begin at their biases, or at 0."""
        source = self.row("weights", names[0]) if biased else 0.0
        count = sum(self.step.rows.of[name][1] for name in names)
        self.copy(self.row("work", names[0]), source, count)

    def multiply(self, number: int) -> None:
        """The products of a loop over k."""
        blocks = self.step.blocks[number]
        if self.step.whole:
            self.multiply_bytes(blocks)
            return
        names = [name for block in blocks for name in block.chains]
        if len({*names}) == len(names) or blocks[0].parts > 1:
            for block in blocks:
                self.product(block, 0, block.depth)
            return
        # Two products with one operand add to one chain: at each k one after the other.
        with self.f.each(0, blocks[0].depth, 1) as k:
            for block in blocks:
                self.product(block, k, 1)

    def sums(self, block: Block) -> Value:
        """Where the sums of a block are."""
        return self.f.at(
            self.row("work", block.chains[0]), ITEM * block.part * self.step.size(block)
        )

    def product(self, block: Block, first: Argument, depth: int) -> None:
        """Part of a block along k."""
        f, units = self.f, self.step.size(block)
        weights = f.at(self.row("weights", block), f.mul(first, ITEM * units))
        first = f.add(first, block.part * block.depth)
        operand = f.at(self.whole(block.operand), f.mul(first, ITEM))
        f.call("products", self.sums(block), weights, operand, units, depth)

    def multiply_bytes(self, blocks: Sequence[Block]) -> None:
        """The operand as bytes, and its products."""
        f, step, operand = self.f, self.step, blocks[0].operand
        assert step.ranges is not None
        depth, source = blocks[0].depth * blocks[0].parts, self.whole(operand)
        bytes_ = f.local(depth, 1)
        with f.each(0, depth, 1) as k:
            value = f.let(
                "mul", _load(f, f.at(source, f.mul(k, ITEM))), LEVELS / step.ranges[operand]
            )
            value = choose(f, "more", value, -LEVELS, value, -LEVELS)  # NaN is the lowest
            value = choose(f, "less", value, LEVELS, value, LEVELS)
            # An integer in the low bits of 1.5 * 2^23 is that number added to it.
            bits = f.let("bits", f.let("add", value, SINGLE.magic), type=INT32)
            byte = f.let("convert", f.let("add", bits, LEVELS + 1), type=BYTE)
            f.do("store", byte, f.at(bytes_, k), of=BYTE, detail=1)
        for block in blocks:
            offsets = f.at(f.named["offsets"], ITEM * step.offsets.of[block][0])
            weights = f.at(f.named["bytes"], step.bytes.of[block][0])
            scales, read = self.row("weights", block), f.at(bytes_, block.part * block.depth)
            shape = step.size(block), block.depth
            f.call("byte_products", self.sums(block), weights, offsets, scales, read, *shape)

    def whole(self, operand: Expr) -> Value:
        """Where a row stands."""
        if isinstance(operand, Input):
            return self.at("x", self.step._columns[operand.name][0])
        if isinstance(operand, State):
            return self.row("state", operand.name)
        if isinstance(operand, Weight):
            return self.row("weights", operand)
        return self.row("work", operand.name)  # type: ignore[attr-defined]

    def leaf(self, node: Expr, offset: Argument) -> Value:
        """A number of a row, or one that holds for all of it."""
        chain = isinstance(node, Name) and node.name in self.step.chains
        number = not chain and self.plan.axis_of(node) == ONE
        return _load(self.f, self.f.at(self.whole(node), 0 if number else offset))

    def elements(self, at: int) -> None:
        """The equations of a stage, unit by unit."""
        stage, f = self.plan.stages[at], self.f
        with f.each(0, self.step.sizes[stage.axis], 1) as j:
            offset = f.mul(j, ITEM)
            values: dict[Expr, Argument] = {}
            inside = {Name(name) for name, _ in stage.equations}
            for _, expr in stage.equations:
                self.load(expr, offset, values, inside)
            for name, expr in stage.equations:
                value = values[Name(name)] = compute(f, expr, values)
                for place in self.kept(name, at):
                    self.store(value, f.at(place, offset))

    def load(
        self, expr: Expr, offset: Argument, values: dict[Expr, Argument], inside: set[Name]
    ) -> None:
        """The leaves of an expression that are in memory."""
        for node in walk(expr):
            if not parts(node) and not isinstance(node, Const) and node not in {*values, *inside}:
                values[node] = self.leaf(node, offset)

    def kept(self, name: str, at: int) -> Iterator[Value]:
        """Where a value is stored."""
        step = self.step
        if step.next_state(name):
            over = step.in_place(name, at)
            yield (
                self.row("state", step.next_state(name))
                if over
                else self.row("work", f"next {name}")
            )
        if name in step.rows.of:
            yield self.row("work", name)
        if name == step.cell.output:
            yield self.f.named["y"]

    def number(self, name: str, expr: Expr) -> None:
        """An equation of one number for the row."""
        if is_mean(expr):
            (expr,) = parts(expr)
        axes = {self.plan.axis_of(n) for n in walk(expr) if not parts(n)} - {ONE}
        if axes:
            value: Argument = self.mean(expr, self.step.sizes[axes.pop()])
        else:
            values: dict[Expr, Argument] = {}
            self.load(expr, 0, values, set())
            value = compute(self.f, expr, values)
        for place in self.kept(name, 0):
            self.store(value, place)

    def mean(self, expr: Expr, size: int) -> Value:
        """Summed as lanes are: whole vectors in order, then over the lanes by halves."""
        f, number = self.f, self.f.target.number
        lanes = f.target.lanes
        sums = f.local(ITEM * lanes, ITEM)
        self.copy(sums, 0.0, lanes)

        def add(first: Argument, count: int) -> None:
            with f.each(0, count, 1) as lane:
                values: dict[Expr, Argument] = {}
                self.load(expr, f.mul(f.add(first, lane), ITEM), values, set())
                place = f.at(sums, f.mul(lane, ITEM))
                self.store(f.let("add", _load(f, place), compute(f, expr, values)), place)

        whole = size - size % lanes
        with f.each(0, whole, lanes) as first:
            add(first, lanes)
        if size % lanes:
            add(whole, size % lanes)
        half = lanes // 2
        while half:
            for k in range(half):
                place = f.at(sums, ITEM * k)
                other = _load(f, f.at(sums, ITEM * (k + half)))
                self.store(f.let("add", _load(f, place), other), place)
            half //= 2
        return f.let("div", _load(f, sums), f.let("splat", float(size), type=number))
