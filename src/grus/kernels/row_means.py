"""A tile of a stage of numbers: what is one number for each row, means over its units above all.

Every thread that works on a row computes the row's numbers for itself: they are a few, and so
nobody waits for them. A mean is the sum over the whole vectors of the row in ascending order, one
addition each, then over the lanes by halves, then a division: the same bits whoever computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from grus.equations import Const, Expr, Input, Name, State, Weight
from grus.equations.expr import parts, walk
from grus.kernels.argument_block import size_slot
from grus.kernels.builder import Module
from grus.kernels.functions import compute
from grus.kernels.loops import INDEX, Argument, Value
from grus.kernels.plan import ONE, is_mean
from grus.kernels.tile import Tile, once

ROWS = (4, 1)
"""Rows at a time: a sum is a chain of additions, and chains of several rows go side by side."""


class NumbersTile(Tile):
    """The numbers of rows %row and the ones after it."""

    def __init__(self, module: Module, at: int, rows: int) -> None:
        super().__init__(module, f"stage{at}.{rows}x1", "row", rows, 1, ONE)
        self.values: list[dict[Expr, Argument]] = [{} for _ in range(rows)]
        left = list(module.plan.stages[at].equations)
        while left:
            ready = [pair for pair in left if self.complete(pair[1], {n for n, _ in left})]
            self.means([pair for pair in ready if is_mean(pair[1])])
            for name, expr in ready:
                if not is_mean(expr):
                    self.each(name, expr)
            left = [pair for pair in left if pair not in ready]

    def complete(self, expr: Expr, left: set[str]) -> bool:
        """True when no equation is left that this one reads."""
        return not any(isinstance(n, Name) and n.name in left for n in walk(expr))

    def each(self, name: str, expr: Expr) -> None:
        """An equation of numbers."""
        for row, values in enumerate(self.values):
            for node in walk(expr):
                if node not in values and not parts(node) and not isinstance(node, Const):
                    values[node] = self.number(node, row)
            self.keep(name, row, compute(self.f, expr, values))

    def keep(self, name: str, row: int, value: Argument) -> None:
        """Store a number where somebody will look for it."""
        self.values[row][Name(name)] = value
        if name in self.plan.rows:
            self.f.store(value, self.row_pointer(f"row.{name}", "ld", row, "cur"))
        if name in self.stores:
            number = self.f.let("first", value) if isinstance(value, Value) else value
            place = self.array_row(f"out.{name}", row)
            self.f.do("store", number, place, of=self.f.target.number, detail=1)

    def means(self, equations: Sequence[tuple[str, Expr]]) -> None:
        """Several means: those over one axis in one sweep over the row."""
        by_axis: dict[str, list[tuple[str, Expr]]] = {}
        for name, expr in equations:
            argument = parts(expr)[0]
            axis = self.axis_of(argument)
            if axis == ONE:
                self.each(name, argument)  # the mean of a number
            else:
                by_axis.setdefault(axis, []).append((name, argument))
        for axis, averaged in by_axis.items():
            for name, row, value in self.sweep(axis, averaged):
                self.keep(name, row, value)

    def axis_of(self, expr: Expr) -> str:
        """The axis that a mean is over."""
        for node in walk(expr):
            axis = self.plan.axis_of(node)
            if axis != ONE:
                return axis
        return ONE

    def sweep(
        self, axis: str, averaged: Sequence[tuple[str, Expr]]
    ) -> list[tuple[str, int, Value]]:
        """The means of some expressions over an axis: (name, row, mean in all lanes)."""
        f, t = self.f, self.f.target
        places = [(name, row) for name, _ in averaged for row in range(self.rows)]
        for row in range(self.rows):  # before the loop, so that they are known in all of it
            for _, expr in averaged:
                self.constants(expr, row)
        for name in ("cur", self.slots.widest):
            self.slot(name)
        size = self.slot(size_slot(axis))
        whole, rest = f.let("div", size, t.lanes), f.let("rem", size, t.lanes)

        def add(j: Value, mask: Value | None, totals: Sequence[Value]) -> list[Value]:
            vectors: list[dict[Expr, Argument]] = [dict(values) for values in self.values]
            after = []
            for (_, expr), row, total in (
                (averaged[k // self.rows], k % self.rows, totals[k]) for k in range(len(places))
            ):
                for node in walk(expr):
                    if node not in vectors[row] and not parts(node) and not isinstance(node, Const):
                        vectors[row][node] = self.vector(node, row, j, mask)
                value = compute(f, expr, vectors[row])
                if mask:
                    value = f.let("select", mask, value, 0.0)
                after.append(f.let("add", total, value))
            return after

        with f.loop(0, whole, 1, [0.0] * len(places)) as loop:
            loop.next(*add(loop.index, None, loop.carried))
        mask = f.lanes_below(rest)
        stop = f.add(whole, f.let("convert", f.let("more", rest, 0), type=INDEX))
        with f.loop(whole, stop, 1, loop.carried) as loop:
            loop.next(*add(loop.index, mask, loop.carried))
        count = f.splat(f.let("convert", size, type=t.number))
        return [
            (name, row, f.let("div", self.over_lanes(total), count))
            for (name, row), total in zip(places, loop.carried, strict=True)
        ]

    def constants(self, expr: Expr, row: int) -> None:
        """Load the numbers of an expression, and the addresses of its vectors."""
        for node in walk(expr):
            if parts(node) or isinstance(node, Const) or node in self.values[row]:
                continue
            if self.plan.axis_of(node) == ONE:
                self.values[row][node] = self.number(node, row)
            else:
                self.start(node, row)

    def start(self, node: Expr, row: int) -> Value:
        """The address of a vector's first unit in a row."""
        chains = [chain.name for chain in self.plan.hoisted]
        if isinstance(node, Weight):
            return self.pointer(f"vector.{node.name}")
        if isinstance(node, Input) and node.keep is not None:
            return self.row_pointer(f"mask.{node.name}", "ld", row, "")
        if isinstance(node, Input):
            return self.array_row(f"in.{node.name}", row)
        if isinstance(node, State):
            return self.row_pointer(f"state.{node.name}", "ld", row, "cur")
        assert isinstance(node, Name)
        if node.name in chains:
            return self.hoisted(chains.index(node.name), row)
        return self.row_pointer(f"row.{node.name}", "ld", row, "cur")

    @once
    def hoisted(self, chain: int, row: int) -> Value:
        """The address of a row of a product with x."""
        return self.f.at(self.row_pointer("P.now", "P.row", row, ""), self.first(chain))

    @once
    def offset(self, j: Value) -> Value:
        """Bytes before the j-th vector."""
        return self.f.let("mul", j, self.vector_bytes)

    def vector(self, node: Expr, row: int, j: Value, mask: Value | None) -> Value:
        """The j-th vector of a row, no lane beyond the mask where the memory is the caller's."""
        offset = self.offset(j)
        at = self.f.at(self.start(node, row), offset)
        if isinstance(node, Input) and node.keep is None:
            return self.f.load_masked(at, mask) if mask else self.f.load(at, 1)
        return self.f.load(at)

    def over_lanes(self, total: Value) -> Value:
        """The sum over the lanes, in all of them: each half added to the other."""
        half = self.f.target.lanes // 2
        while half:
            order = tuple(k ^ half for k in range(self.f.target.lanes))
            total = self.f.let("add", total, self.f.let("shuffle", total, detail=order))
            half //= 2
        return total
