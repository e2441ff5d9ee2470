"""The roles of a cell's values, read off its equations: gates, resets, what keeps a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    walk,
)
from grus.equations.flat import gates
from grus.equations.operators import linear
from grus.equations.simplify import ZERO, simplify

ONE = Const(1.0)


def resets(cell: Cell) -> tuple[str, ...]:
    """The reset gates: those that multiply the state, or a product with it, on the way to a
    candidate. In the GRU r, in the minimal gated unit f, in the LSTM none."""
    named, known = dict(cell.equations), gates(cell)
    resetting: set[str] = set()
    results = {f"{state}_next" for state in cell.states} | {"y"}
    for name, expr in cell.equations:
        for node in walk(expr) if name not in results else ():
            if isinstance(node, Apply) and node.op == "mul":
                left, right = node.args
                for gate, read in ((left, right), (right, left)):
                    if isinstance(gate, Name) and gate.name in known and _carries(read, named):
                        resetting.add(gate.name)
    return tuple(gate for gate in known if gate in resetting)


def keeps(cell: Cell) -> dict[str, Expr]:
    """State -> the factor that multiplies it, unit by unit, on its way into its next value.

    Derived from the equation of the next state: z where z keeps, 1 - z where z admits, f for the
    LSTM's c. Sums, products and clips are followed, through names too; a state that enters only
    through products with weights or through functions has no such factor and is left out (the plain
    network's h, the LSTM's h). Masks that are drawn count with their means.
    """
    cell = expected(cell)
    named = dict(cell.equations)
    factors = {s: simplify(_factor(named[f"{s}_next"], State(s), named)) for s in cell.states}
    return {
        s: factor
        for s, factor in factors.items()
        if factor != ZERO and not any(isinstance(n, (State, Input, Weight)) for n in walk(factor))
    }


def _carries(expr: Expr, named: Mapping[str, Expr]) -> bool:
    """Whether the state is in it, as it is, in a product with a weight, or in sums of these."""
    if isinstance(expr, Name):
        return _carries(named[expr.name], named)
    if isinstance(expr, Apply):
        through = linear(expr) or expr.op in ("add", "sub", "neg")
        return bool(through) and any(_carries(arg, named) for arg in expr.args)
    return isinstance(expr, State)


def _factor(expr: Expr, state: State, named: Mapping[str, Expr]) -> Expr:
    """d(expr)/d(state) unit by unit through sums, products and clips; 0 where there is no way."""
    if isinstance(expr, Name):
        return _factor(named[expr.name], state, named)
    if not isinstance(expr, Apply):
        return ONE if expr == state else ZERO
    rule = FACTORS.get(expr.op)
    parts = tuple(simplify(_factor(arg, state, named)) for arg in expr.args) if rule else ()
    return ZERO if rule is None else rule(*zip(expr.args, parts, strict=True))


Part = tuple[Expr, Expr]
"""An argument and its factor."""


def _product(left: Part, right: Part) -> Expr:
    """Of two arguments that both hold the state neither is a factor of it."""
    if ZERO not in (left[1], right[1]):
        return ZERO
    return simplify(left[1] * right[0] + left[0] * right[1])


def _clipped(left: Part, right: Part) -> Expr:
    """The factor while the bound, which is a number, is not reached."""
    bounded = isinstance(left[0], Const) or isinstance(right[0], Const)
    return simplify(left[1] + right[1]) if bounded else ZERO


FACTORS: dict[str, Callable[..., Expr]] = {
    "add": lambda left, right: left[1] + right[1],
    "sub": lambda left, right: left[1] - right[1],
    "neg": lambda operand: -operand[1],
    "mul": _product,
    "div": lambda left, right: left[1] / right[0] if right[1] == ZERO else ZERO,
    "minimum": _clipped,
    "maximum": _clipped,
}
"""For each operator, the factor of its result from the factors of its arguments."""
