"""How large the operands of products can get, proven from the equations: what int8 needs.

An interval of each value is worked out from those of its arguments. A state is taken to lie in
[-1, 1], or in what that leads to, if its next one then does, too: what mixes two values by a gate
stays between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from grus.builds.model import Array, Layer
from grus.builds.step_program import StepProgram
from grus.equations import (
    Apply,
    Cell,
    Const,
    Expr,
    Input,
    Name,
    State,
    Weight,
    expected,
    linear,
    without_blocks,
)
from grus.equations.operators import OPERATORS
from grus.errors import InputError
from grus.kernels import LEVELS, make_plan

Interval = tuple[float, float]
EVERYTHING = -math.inf, math.inf
UNIT = -1.0, 1.0
ONE = Const(1.0)


@dataclass
class _Bounds:
    """The intervals of a flat cell's values."""

    cell: Cell
    families: Mapping[str, tuple[str, ...]]
    """How the weights are stacked: as the cell has them, whose flat form may read them in another
    order."""
    weights: Mapping[str, Array]
    read: Interval
    """Of x and of further inputs."""
    states: dict[str, Interval]
    values: dict[str, Interval] = field(default_factory=dict)
    written: dict[str, Expr] = field(default_factory=dict)

    def run(self) -> None:
        """All values, in their order."""
        for name, expr in self.cell.equations:
            self.written[name] = expr
            interval = self.of(expr)
            # Infinite less infinite bounds nothing.
            self.values[name] = EVERYTHING if any(map(math.isnan, interval)) else interval

    def of(self, expr: Expr) -> Interval:
        """The interval of an expression."""
        if isinstance(expr, Apply):
            if linear(expr):
                return self.linear(expr)
            return self.mixed(expr) or self.applied(expr)
        if isinstance(expr, Const):
            return expr.value, expr.value
        if isinstance(expr, Weight):
            gate = self.gate(expr)
            return float(gate.min()), float(gate.max())
        if isinstance(expr, Input):
            return self.read if expr.keep is None else (0.0, 1.0)
        known = self.states if isinstance(expr, State) else self.values
        return known[expr.name]  # type: ignore[attr-defined]

    def gate(self, weight: Weight) -> Array:
        """A weight's numbers."""
        gates = self.families[weight.family]
        rows = np.split(np.asarray(self.weights[weight.family], np.float64), len(gates))
        return rows[gates.index(weight.gate)]

    def linear(self, expr: Apply) -> Interval:
        """No unit exceeds the sum of its weights' sizes times the operand's."""
        weight, (operand, _) = expr.args[0], without_blocks(expr.args[1])
        how = linear(expr)
        assert isinstance(weight, Weight)
        assert how is not None
        matrix = np.abs(self.gate(weight))
        most = float(matrix.sum(0 if how.turned else 1).max()) * size(self.of(operand))
        return (-most, most) if not math.isnan(most) else EVERYTHING

    def mixed(self, expr: Apply) -> Interval | None:
        """g a + (1 - g) b, or b + g (a - b), with a gate g from 0 to 1: between a and b."""
        if expr.op not in ("add", "sub"):
            return None
        for first, other in (expr.args, expr.args[::-1]):
            if expr.op == "sub" and first is not expr.args[0]:
                continue
            for gate, value in self.factors(other):
                pair = self.between(expr.op, gate, value, first)
                if pair and self.of(gate)[0] >= 0 and self.of(gate)[1] <= 1:
                    lows, highs = zip(*map(self.of, pair), strict=True)
                    return min(lows), max(highs)
        return None

    def between(self, op: str, gate: Expr, value: Expr, rest: Expr) -> tuple[Expr, Expr] | None:
        """What ``rest`` + ``gate`` * ``value`` mixes, - for ``op`` sub."""
        difference = self.seen(value)
        if isinstance(difference, Apply) and difference.op == "sub":
            a, b = difference.args if op == "add" else difference.args[::-1]
            if rest == b:
                return a, b
        if op == "add":
            for left, b in self.factors(rest):
                if any(self.opposite(*pair) for pair in ((left, gate), (gate, left))):
                    return value, b
        return None

    def opposite(self, expr: Expr, gate: Expr) -> bool:
        """Whether an expression is 1 - gate."""
        seen = self.seen(expr)
        return isinstance(seen, Apply) and seen.op == "sub" and seen.args == (ONE, gate)

    def seen(self, expr: Expr) -> Expr:
        """What a name stands for."""
        return self.written.get(expr.name, expr) if isinstance(expr, Name) else expr

    def factors(self, expr: Expr) -> tuple[tuple[Expr, Expr], ...]:
        """A product of two, either way round."""
        seen = self.seen(expr)
        if isinstance(seen, Apply) and seen.op == "mul":
            a, b = seen.args
            return (a, b), (b, a)
        return ()

    def applied(self, expr: Apply) -> Interval:
        """An operator of intervals."""
        op, inside = OPERATORS[expr.op], [self.of(arg) for arg in expr.args]
        if op.kind == "reduction":
            return inside[0]
        if op.rises and op.number is not None:
            low, high = (_at(op.number, end) for end in zip(*inside, strict=True))
            return low, high
        if expr.op == "neg":
            return -inside[0][1], -inside[0][0]
        if expr.op in ("add", "sub", "mul"):
            a, b = inside
            return ARITHMETIC[expr.op](a, b, expr.args[0] == expr.args[1])
        return EVERYTHING


def _product(a: Interval, b: Interval, squared: bool) -> Interval:
    ends = [0.0 if 0 in pair else pair[0] * pair[1] for pair in product(a, b)]
    return (0.0 if squared else min(ends)), max(ends)


ARITHMETIC: dict[str, Callable[[Interval, Interval, bool], Interval]] = {
    "add": lambda a, b, _: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b, _: (a[0] - b[1], a[1] - b[0]),
    "mul": _product,
}
"""Of two intervals, and whether both are one value's."""


def _at(number: object, arguments: tuple[float, ...]) -> float:
    try:
        value = float(number(*arguments))  # type: ignore[operator]
    except (OverflowError, ValueError):
        return math.inf
    return value


def size(interval: Interval) -> float:
    """The largest size in an interval."""
    return max(abs(interval[0]), abs(interval[1]))


def bounds(layer: Layer, read: float) -> _Bounds:
    """The intervals of a layer's values where no number that it reads is larger than ``read``."""
    cell = make_plan(expected(layer.cell)).cell
    states = dict.fromkeys(cell.states, UNIT)
    for again in range(2 + len(states)):
        known = _Bounds(cell, layer.cell.families, layer.weights, (-read, read), states)
        known.run()
        after = {s: size(known.values[f"{s}_next"]) for s in states}
        wide = [s for s in states if after[s] > size(states[s])]
        if not wide:
            break
        wider = {s: (-after[s], after[s]) if not again else EVERYTHING for s in wide}
        states = states | wider
    return known


def operand_ranges(layers: tuple[Layer, ...], read: float) -> tuple[dict[Expr, float], ...]:
    """The largest size of each operand of products in each layer, 1 for states between -1 and 1.

    Raises InputError for an operand that the equations do not bound.
    """
    every = []
    for layer in layers:
        known, ranges = bounds(layer, read), {}
        for loop in make_plan(expected(layer.cell)).k_loops:
            ranges[loop.operand] = size(known.of(loop.operand))
            if not math.isfinite(ranges[loop.operand]):
                raise InputError(
                    f"{layer.path}: int8 needs operands that are bounded, and the equations of"
                    f" {layer.cell.name} do not bound {loop.operand}"
                )
            ranges[loop.operand] = ranges[loop.operand] or 1.0
        every.append(ranges)
        read = size(known.values[known.cell.output])
        if not math.isfinite(read) and layer is not layers[-1]:
            raise InputError(f"{layer.path}: int8 needs its output bounded, and it is not")
    return tuple(every)


def worst_errors(built: StepProgram) -> list[float]:
    """Of each layer how far a sum of products can be from that of float32 weights and operands at
    most, rounding of float32 aside: |w - w8| |x| + |w8| |x - x8|, summed."""
    every = []
    for step, layer in zip(built.steps, built.model.layers, strict=True):
        errors: dict[str, Array] = {}
        for block in (block for loop in step.blocks for block in loop):
            matrix = step.matrix(block, layer.weights).astype(np.float64)
            assert step.ranges is not None
            most = step.ranges[block.operand]
            scales, whole = step.quantized(block, matrix)
            near = whole.T * (scales.astype(np.float64) * LEVELS / most)
            rows = most * np.abs(matrix - near).sum(0) + most / (2 * LEVELS) * np.abs(near).sum(0)
            first = block.part * step.size(block)
            for name in block.chains:
                total = errors.setdefault(name, np.zeros(step.rows.of[name][1]))
                part, rows = np.split(rows, [min(len(total), len(rows))])
                total[first : first + len(part)] += part
        every.append(max((float(rows.max()) for rows in errors.values()), default=0.0))
    return every
