"""What the signs of weights and inputs alone say of a state: a proof that some y cannot be.

The cell's own equations are evaluated on ranges whose ends are -inf, -1, 0, 1 or inf. A range
that holds the initial state, and all that a step makes of itself, holds the state for ever, for
every input of these signs: not a rounding, not the sizes of the numbers matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import OPERATORS, Apply, Const, Expr, Input, Name, State, text
from grus.identification.given import Example
from grus.identification.hypotheses import Weighted
from grus.reference import NUMPY, Operations, evaluate

Array = Any
ENDS = np.array([-np.inf, -1.0, 0.0, 1.0, np.inf])


@dataclass(frozen=True, eq=False)
class Range:
    """Where each number of an array lies."""

    low: Array
    high: Array

    @classmethod
    def of(cls, low: Array, high: Array) -> Range:
        """The smallest range with such ends that holds [low, high]."""
        down = ENDS[np.searchsorted(ENDS, low, side="right") - 1]
        return cls(down, ENDS[np.searchsorted(ENDS, high, side="left")])

    @classmethod
    def made(cls, value: Any) -> Range:
        """Of a number of an equation; a range stays."""
        return value if isinstance(value, Range) else cls.of(np.array([value]), np.array([value]))

    def __getitem__(self, unit: int) -> tuple[float, float]:
        """The range of one unit."""
        low, high = np.ravel(self.low), np.ravel(self.high)
        at = unit if len(low) > 1 else 0
        return float(low[at]), float(high[at])


def _times(one: Array, other: Array) -> Array:
    """A product in which 0 times inf is 0: no number is infinite."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(one * other, nan=0.0, posinf=np.inf, neginf=-np.inf)


def _add(a: Range, b: Range) -> Range:
    return Range.of(a.low + b.low, a.high + b.high)


def _neg(a: Range) -> Range:
    return Range(-a.high, -a.low)


def _ends(a: Range, b: Range) -> tuple[Array, Array]:
    made = [_times(p, q) for p in (a.low, a.high) for q in (b.low, b.high)]
    return np.minimum.reduce(made), np.maximum.reduce(made)


def _mul(a: Range, b: Range) -> Range:
    return Range.of(*_ends(a, b))


def _div(a: Range, b: Range) -> Range:
    if np.all(b.low >= 1):  # what is divided comes nearer to 0
        return Range.of(np.minimum(a.low, 0), np.maximum(a.high, 0))
    return _unknown(a)


def _matmul(w: Range, v: Range) -> Range:
    low, high = _ends(w, Range(v.low[None], v.high[None]))
    return Range.of(low.sum(-1), high.sum(-1))


def _unknown(*of: Range) -> Range:
    shape = np.broadcast_shapes(*(one.low.shape for one in of))
    return Range(np.full(shape, -np.inf), np.full(shape, np.inf))


def _same(function: Any) -> Any:
    """A function that rises: ends go to ends."""
    return lambda *of: Range.of(
        function(*(one.low for one in of)), function(*(one.high for one in of))
    )


# Functions that rise take ends to ends; of all others nothing is said.
RANGES: dict[str, Any] = {
    "add": _add,
    "sub": lambda a, b: _add(a, _neg(b)),
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "matmul": _matmul,
    **{name: _same(NUMPY.table[name]) for name, op in OPERATORS.items() if op.rises},
}


def _on_ranges(known: Any) -> Any:
    """The operator with the numbers of an equation as ranges too."""
    return lambda *of: known(*map(Range.made, of))


_OPERATIONS = Operations(
    name="ranges",
    table={op: _on_ranges(RANGES.get(op, _unknown)) for op in NUMPY.table},
    where=NUMPY.where,
    stack=NUMPY.stack,
    zeros_like=NUMPY.zeros_like,
)


@dataclass(frozen=True)
class Proof:
    """Why a number of y cannot be."""

    y: float
    unit: int
    low: float
    high: float
    """The output stays between these."""
    lines: tuple[str, ...]
    """The reasons, one equation each."""


def impossible(function: Weighted, view: Example, tolerance: float) -> Proof | None:
    """A proof by signs that a number of y is none of this function's, or None."""
    leaves = _leaves(function, view)
    values = _fixed(function, view, leaves)
    if values is None:
        return None
    output = values[Name(function.cell.output)]
    for unit in range(view.y.shape[-1]):
        low, high = output[unit]
        y = view.y[..., unit]
        for claimed in (float(y.max()), float(y.min())):
            if claimed > high + tolerance or claimed < low - tolerance:
                return Proof(claimed, unit, low, high, tuple(_lines(function, view, values, unit)))
    return None


def _leaves(function: Weighted, view: Example) -> dict[Expr, Any]:
    found: dict[Expr, Any] = {w: Range.of(a, a) for w, a in function.weights.items()}
    found[Input("x")] = Range.of(view.x.min((0, 1)), view.x.max((0, 1)))
    return found


def _fixed(function: Weighted, view: Example, leaves: Mapping[Expr, Any]) -> dict[Expr, Any] | None:
    """All values, from states whose ranges a step does not leave; None where there are no such."""
    cell = function.cell
    given = view.start or tuple(np.zeros((1, function.hidden)) for _ in cell.states)
    states = [Range.of(one.min(0), one.max(0)) for one in given]
    # A range can grow at most four times at each end before it is everything.
    for _ in range(8 * len(states) * function.hidden + 1):
        values = dict(leaves) | {
            State(name): one for name, one in zip(cell.states, states, strict=True)
        }
        for name, expr in cell.equations:
            values[Name(name)] = Range.made(evaluate(expr, values, _OPERATIONS))
        after = [values[Name(f"{name}_next")] for name in cell.states]
        grown = [
            Range(np.minimum(a.low, b.low), np.maximum(a.high, b.high))
            for a, b in zip(states, after, strict=True)
        ]
        same = all(
            np.array_equal(a.low, b.low) and np.array_equal(a.high, b.high)
            for a, b in zip(states, grown, strict=True)
        )
        if same:
            return values
        states = grown
    return None


def _lines(
    function: Weighted, view: Example, values: Mapping[Expr, Any], unit: int
) -> Iterator[str]:
    """Each equation whose value is of one sign, with the terms that make it so."""
    for name, expr in function.cell.equations:
        told = _told(values[Name(name)][unit])
        terms = _terms(expr)
        if not told:
            continue
        because = [(text.show(one), _of(one, values, unit)) for one in terms]
        said = ", ".join(f"{shown} {where}" for shown, where in because if where)
        yield f"{name} = {text.show(expr)}: {said + ', so ' if said else ''}{name} {told}"
    for name in function.cell.states:
        told = _told(values[State(name)][unit])
        begins = "begins at 0" if view.start is None else "begins so"
        if told:
            yield f"{name} {begins}, and each step leaves it so: {name} {told} for ever"


def _of(expr: Expr, values: Mapping[Expr, Any], unit: int) -> str:
    if isinstance(expr, Const):
        return ""
    return _told(Range.made(evaluate(expr, values, _OPERATIONS))[unit])


def _terms(expr: Expr) -> Sequence[Expr]:
    """The terms of a sum, or of what a function is taken of."""
    if isinstance(expr, Apply) and expr.op in ("add", "sub"):
        return [term for part in expr.args for term in _terms(part)]
    if isinstance(expr, Apply) and len(expr.args) == 1 and expr.op != "neg":
        return _terms(expr.args[0]) if expr.op != "sigmoid" else []
    return [expr]


def _told(ends: tuple[float, float]) -> str:
    low, high = ends
    if low == high == 0:
        return "= 0"
    if low >= 0:
        return "in [0, 1]" if high == 1 and low == 0 else ">= 0"
    return "<= 0" if high <= 0 else ""
