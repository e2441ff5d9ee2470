"""A hand calculation: every step, equation and unit of a run, with the numbers put in.

Each line is a list of stages from the equation with numbers to its value, and each stage is itself
an expression of the equation language whose leaves are numbers. All values come from the
reference evaluator in float64; nothing here computes a cell a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import Cell, Expr, Name, State
from grus.errors import InputError
from grus.inspect.filling import Filling, Product
from grus.reference import Sequence, run, split

Array = Any
MAX_TERMS = 200
MAX_LINES = 20_000


@dataclass(frozen=True)
class Line:
    """One unit of one equation."""

    unit: int | None
    """Counted from 1; None where the value is a single number."""
    products: tuple[Product, ...]
    """Products of more than one term, each worked out by itself."""
    stages: tuple[Expr, ...]
    """With numbers put in, with each term worked out, with the function's argument worked out."""
    value: float


@dataclass(frozen=True)
class Equation:
    """One equation of one step."""

    name: str
    symbols: Expr
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Step:
    """One step: what it reads, its equations, what it leaves."""

    number: int
    x: tuple[float, ...]
    before: dict[str, tuple[float, ...]]
    equations: tuple[Equation, ...]
    after: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Worksheet:
    """A cell run over one sequence, line by line."""

    cell: Cell
    steps: tuple[Step, ...]
    final: dict[str, tuple[float, ...]]
    """The last states, by name."""
    output: tuple[float, ...]
    """The last output: the first state unless the cell has a ``y``."""


def worksheet(
    cell: Cell, weights: Mapping[str, Array], x: Array, h0: tuple[Array, ...] | None = None
) -> Worksheet:
    """Work a sequence out. ``x`` is [time, input], each of ``h0`` [hidden]; float64.

    Raises InputError for a sequence of no steps, and where a line would hold more than 200
    products or the sheet more than 20,000 lines, which no person follows.
    """
    if not len(x):
        raise InputError("x: a worksheet needs at least one step")
    _check_extent(cell, weights, len(x))
    start = None if h0 is None else tuple(h[None] for h in h0)
    with np.errstate(over="ignore", invalid="ignore"):
        done = run(cell, weights, x[:, None], start)
        _check_finite(done)
        steps = tuple(_steps(cell, weights, x, start, done))
    return Worksheet(cell, steps, steps[-1].after, _numbers(done.output[-1]))


def _steps(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: tuple[Array, ...] | None,
    done: Sequence,
) -> Iterator[Step]:
    leaves: dict[Expr, Array] = dict(split(cell, weights).items())
    before = start or tuple(np.zeros_like(s) for s in done.state)
    for t, values in enumerate(done.values):
        states = dict(zip(cell.states, before, strict=True))
        leaves |= dict.fromkeys(cell.inputs, x[t][None])
        leaves |= {State(name): value for name, value in states.items()}
        leaves |= {Name(name): value for name, value in values.items()}
        before = tuple(values[f"{name}_next"] for name in cell.states)
        equations = tuple(
            Equation(name, expr, tuple(_lines(expr, values[name], leaves)))
            for name, expr in cell.equations
        )
        after = dict(zip(cell.states, map(_numbers, before), strict=True))
        reads = {name: _numbers(value) for name, value in states.items()}
        yield Step(t + 1, _numbers(x[t]), reads, equations, after)


def _check_finite(done: Sequence) -> None:
    for t, values in enumerate(done.values):
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise InputError(f"step {t + 1}: {name} is not finite; the numbers are too large")


def _check_extent(cell: Cell, weights: Mapping[str, Array], steps: int) -> None:
    widest = max((w.shape[1] for w in weights.values() if w.ndim == 2), default=1)
    if widest > MAX_TERMS:
        raise InputError(
            f"a worksheet writes every product out; a row of {widest} weights is more than"
            f" {MAX_TERMS}"
        )
    units = max((w.shape[0] for w in split(cell, weights).values()), default=1)
    lines = steps * len(cell) * units
    if lines > MAX_LINES:
        raise InputError(
            f"a worksheet of {steps} steps, {len(cell)} equations and {units} units has {lines}"
            f" lines, more than {MAX_LINES}; give fewer steps"
        )


def _numbers(array: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in np.ravel(array))


def _lines(expr: Expr, value: Array, leaves: Mapping[Expr, Array]) -> list[Line]:
    fill = Filling(leaves)
    units = value.shape[-1]
    return [
        Line(
            k + 1 if units > 1 else None,
            tuple(fill.products(expr, k)),
            fill.stages(expr, k),
            float(value[0, k]),
        )
        for k in range(units)
    ]
