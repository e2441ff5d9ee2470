"""A sequence worked out by hand: the kernels' values, and every line between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from grus import reference, runtime
from grus.equations import Cell, Expr, Name, State, expected
from grus.equations.axes import sizes
from grus.equations.text import counted
from grus.errors import InputError
from grus.kernels import UnsupportedCellError
from grus.kernels.backend import VARIABLE, backend
from grus.reference import split
from grus.worksheet.filling import Filling, LongProduct

Array = Any
States = tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Computed:
    """Every named value of every step of one sequence."""

    values: Mapping[str, Array]
    """Equation -> [time, unit], in time order."""
    start: States
    final: States
    by: str
    """The code that computed them, and its dtype."""


def compute(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: States | None,
    reverse: bool,
    further: Mapping[str, Array],
) -> Computed:
    """Run a cell over ``x`` [time, input] and each ``further`` input [time, size], each of ``h0``
    [size of its axis], in the dtype of x.

    The kernels run; where they are turned off or cannot run the cell, the reference in float64
    does, and ``by`` says why. Raises InputError as `runtime.values` does.
    """
    axes = sizes(cell, dict(weights), x.shape[1], batched(h0))
    zeros = tuple(np.zeros(axes[cell.shapes.states[s]]) for s in cell.states)
    batch = tuple(np.asarray(state, x.dtype)[None] for state in h0 or zeros)
    why = f"{VARIABLE}=reference or no executable memory"
    if backend() == "kernels":
        try:
            cast = {family: np.asarray(w, x.dtype) for family, w in weights.items()}
            every = {n: np.asarray(v, x.dtype)[:, None] for n, v in further.items()}
            row = runtime.row(cell, cast, x[:, None], every)
            # One row on one thread: the bits do not depend on it, and no threads are looked for.
            values, final = runtime.values(cell, cast, row, batch, reverse=reverse, threads=1)
            by = f"the compiled kernels in {x.dtype.name}"
            return _alone(values, batch, final, by)
        except UnsupportedCellError as error:
            if cell.gathers:
                raise
            why = str(error)
    masks = {name: np.asarray(value)[:, None] for name, value in further.items()}
    slow = reference.run(cell, weights, x[:, None], batch, reverse=reverse, masks=masks)
    # Steps as they were taken: the last comes first where the direction is backward.
    taken = slow.values[::-1] if reverse else slow.values
    values = {name: np.stack([step[name] for step in taken]) for name, _ in cell}
    by = f"the slow reference in float64, not the kernels ({why})"
    return _alone(values, batch, slow.state, by)


def batched(h0: States | None) -> States | None:
    """States with the axis of a batch of one."""
    return h0 and tuple(np.asarray(state)[None] for state in h0)


def _alone(values: Mapping[str, Array], start: States, final: States, by: str) -> Computed:
    """Without the axis of the batch."""
    alone = {name: value[:, 0] for name, value in values.items()}
    return Computed(alone, tuple(s[0] for s in start), tuple(s[0] for s in final), by)


MOST_TERMS = 12
MAX_LINES = 20_000


@dataclass(frozen=True)
class Line:
    """One unit of one equation."""

    unit: int | None
    """Counted from 1; None where the value is a single number."""
    products: tuple[LongProduct, ...]
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
class WorkedStep:
    """One step: what it reads, its equations, what it leaves."""

    number: int
    """Its place in time, counted from 1."""
    x: tuple[float, ...]
    before: dict[str, tuple[float, ...]]
    equations: tuple[Equation, ...]
    after: dict[str, tuple[float, ...]]
    token: str | None = None
    """The character that x stands for."""
    further: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The further inputs, by name."""


@dataclass(frozen=True)
class Worksheet:
    """A cell run over one sequence, line by line."""

    cell: Cell
    steps: tuple[WorkedStep, ...]
    """Those asked for, in the order in which they are taken."""
    final: dict[str, tuple[float, ...]]
    """The last states, by name."""
    output: tuple[float, ...]
    """The last output: the first state unless the cell has a ``y``."""
    total: int
    """Steps of the whole sequence."""
    by: str
    """The code that computed the values, and its dtype."""

    def _repr_html_(self) -> str:
        """The steps for a notebook."""
        from grus.worksheet.html_page import fragment

        return fragment(self)


def worksheet(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: tuple[Array, ...] | None = None,
    *,
    steps: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    reverse: bool = False,
    tokens: Sequence[str] | None = None,
    most: int = MOST_TERMS,
    further: Mapping[str, Array] | None = None,
) -> Worksheet:
    """Work a sequence out. ``x`` is [time, input], each of ``h0`` [size of its axis], default 0,
    each ``further`` input of the cell, by name, [time, size], what is one number [time, 1].

    The run is in the dtype of x, float32 or float64. ``steps`` and ``units`` are those to show,
    numbers from 0, all by default; a value that has fewer units shows those it has. ``reverse``:
    the direction that begins at the last step. ``tokens`` say what each step's x stands for. A sum
    of more than ``most`` terms is shown by its first three and its last, and its value.

    Raises InputError for a sequence of no steps, a step or unit that is not there, numbers that
    overflow, and for more than 20,000 lines, which no person follows.
    """
    if not len(x):
        raise InputError("x: a worksheet needs at least one step")
    cell = expected(cell)
    taken = _numbers_of("steps", steps, len(x))
    axes = sizes(cell, dict(weights), x.shape[1], batched(h0))
    many = max(axes[axis] for axis in cell.shapes.values.values() if axis)
    chosen = _numbers_of("units", units, many)
    _check_extent(cell, len(taken), len(chosen))
    with np.errstate(over="ignore", invalid="ignore"):
        done = compute(cell, weights, x, h0, reverse, further or {})
        _check_finite(done)
        work = _Work(cell, weights, x, further or {}, done, reverse, chosen, most, tokens)
        shown = tuple(work.step(t) for t in (taken[::-1] if reverse else taken))
    last = done.values[cell.output][0 if reverse else -1]
    final = dict(zip(cell.states, map(_numbers, done.final), strict=True))
    return Worksheet(cell, shown, final, _numbers(last), len(x), done.by)


@dataclass(frozen=True, eq=False)
class _Work:
    """A run, worked out step by step."""

    cell: Cell
    weights: Mapping[str, Array]
    x: Array
    further: Mapping[str, Array]
    done: Computed
    reverse: bool
    units: Sequence[int]
    most: int
    tokens: Sequence[str] | None

    @cached_property
    def single(self) -> dict[Expr, Array]:
        """The weights gate by gate, in float64."""
        single = split(self.cell, self.weights).items()
        return {weight: np.asarray(array, np.float64) for weight, array in single}

    def step(self, t: int) -> WorkedStep:
        """One step, from the values that it found and left."""
        before, after = self.state(t - 1 if not self.reverse else t + 1), self.state(t)
        leaves = dict(self.single)
        arrive = {"x": self.x[t], **{name: value[t] for name, value in self.further.items()}}
        leaves |= {node: _row(arrive[node.name]) for node in self.cell.inputs}
        leaves |= {State(name): _row(value) for name, value in before.items()}
        leaves |= {Name(name): _row(value[t]) for name, value in self.done.values.items()}
        fill = Filling(leaves, self.most)
        equations = tuple(
            Equation(name, expr, tuple(self.lines(expr, leaves[Name(name)], fill)))
            for name, expr in self.cell.equations
        )
        token = None if self.tokens is None else self.tokens[t]
        reads = {name: _numbers(value) for name, value in before.items()}
        leaves_behind = {name: _numbers(value) for name, value in after.items()}
        x, *others = map(_numbers, arrive.values())
        beside = dict(zip(self.further, others, strict=True))
        return WorkedStep(t + 1, x, reads, equations, leaves_behind, token, beside)

    def state(self, t: int) -> dict[str, Array]:
        """The states after step ``t``; those of the start where that is no step."""
        if not 0 <= t < len(self.x):
            return dict(zip(self.cell.states, self.done.start, strict=True))
        return {name: self.done.values[f"{name}_next"][t] for name in self.cell.states}

    def lines(self, expr: Expr, value: Array, fill: Filling) -> Iterator[Line]:
        """An equation for each unit asked for."""
        size = value.shape[-1]
        for k in (k for k in self.units if k < size):
            number = k + 1 if size > 1 else None
            products = tuple(fill.products(expr, k))
            yield Line(number, products, fill.stages(expr, k), float(value[0, k]))


def _row(array: Array) -> Array:
    return np.asarray(array, np.float64)[None]


def _numbers(array: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in np.ravel(array))


def _numbers_of(what: str, asked: Sequence[int] | None, size: int) -> list[int]:
    """The numbers asked for, each once, ascending; all by default."""
    if asked is None:
        return list(range(size))
    wrong = [k for k in asked if not 0 <= k < size]
    if wrong or not len(asked):
        reason = f"there is no {wrong[0]}" if wrong else "none is asked for"
        raise InputError(f"{what}: {reason}; they are 0 to {size - 1}")
    return sorted({int(k) for k in asked})


def _check_finite(done: Computed) -> None:
    for t in range(len(next(iter(done.values.values())))):
        for name, value in done.values.items():
            if not np.isfinite(value[t]).all():
                raise InputError(f"step {t + 1}: {name} is not finite; the numbers are too large")


def _check_extent(cell: Cell, steps: int, units: int) -> None:
    lines = steps * len(cell) * units
    if lines > MAX_LINES:
        raise InputError(
            f"a worksheet of {counted(steps, 'step')}, {counted(len(cell), 'equation')} and"
            f" {counted(units, 'unit')} has {lines} lines, more than {MAX_LINES}; choose"
            " fewer steps or units"
        )
