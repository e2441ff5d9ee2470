"""Every hypothesis run on the example, the best first.

The largest error over a part of the example is at most that over the whole. So all are run on a
part, and then, in the order of what they showed there, on the whole, until none that is left can
be among the best.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.identification.batch import Stack, chunks
from grus.identification.functions import Function
from grus.identification.given import View, views

Array = Any
STEPS, ROWS = 3, 2  # the part: enough to tell most hypotheses apart


@dataclass(frozen=True, eq=False)
class Trial:
    """A function, a way to read the example, and how far off they are from it."""

    function: Function
    view: View
    error: float
    """The largest absolute difference from y; inf where a number is not finite."""

    def outputs(self, dtype: Any = np.float64) -> Array:
        """What the function gives where the example has y."""
        stack = Stack.of([self.function.weights], self.function.hidden, dtype)
        return _outputs(stack, self.function.cell, self.view, dtype)[0]


def _outputs(stack: Stack, cell: Cell, view: View, dtype: Any = np.float64) -> Array:
    """What functions of one cell give where the example has y, [functions, *y.shape]."""
    found = stack.run(cell, view.x, view.start, dtype)
    return found if view.y.ndim == 3 else found[:, -1]


def search(
    functions: Iterable[Function],
    x: Array,
    y: Array,
    start: tuple[Array, ...] | None,
    best: int,
    near: float,
) -> tuple[list[Trial], int]:
    """The ``best`` trials by error, and all others that are off by ``near`` or less, ascending;
    and how many were made."""
    rough = sorted(_rough(functions, x, y, start), key=lambda trial: trial.error)
    found: list[Trial] = []
    for trial in rough:
        bound = max(near, sorted(t.error for t in found)[best - 1]) if len(found) >= best else near
        if len(found) >= best and trial.error > bound:
            break
        error = _error(trial.outputs()[None], trial.view.y)[0]
        found.append(Trial(trial.function, trial.view, float(error)))
    return sorted(found, key=lambda trial: trial.error), len(rough)


def trial(function: Function, x: Array, y: Array, start: tuple[Array, ...] | None) -> Trial | None:
    """A function in the forward reading of the example that fits it best; None: there is none."""
    found = []
    for view in (one for one in _views(function, x, y, start) if one.forward):
        made = Trial(function, view, np.inf)
        found.append(replace(made, error=float(_error(made.outputs()[None], view.y)[0])))
    return min(found, key=lambda one: one.error, default=None)


def _rough(
    functions: Iterable[Function], x: Array, y: Array, start: tuple[Array, ...] | None
) -> list[Trial]:
    """Every trial, with its error over a part of the example.

    Weights are stacked once for all equations that read the same.
    """
    groups: dict[tuple[object, ...], list[Function]] = {}
    for one in functions:
        groups.setdefault((one.cell.weights, one.hidden, one.inputs), []).append(one)
    found: list[Trial] = []
    for group in groups.values():
        by_weights: dict[int, list[Function]] = {}
        for one in group:
            by_weights.setdefault(id(one.weights), []).append(one)
        for chunk in chunks([of[0].weights for of in by_weights.values()]):
            stack = Stack.of(chunk, group[0].hidden)
            places = {id(weights): k for k, weights in enumerate(chunk)}
            some = [one for one in group if id(one.weights) in places]
            found += _stacked(some, places, stack, _views(group[0], x, y, start))
    return found


def _stacked(
    functions: list[Function], places: Mapping[int, int], stack: Stack, views: list[View]
) -> Iterator[Trial]:
    """The trials of functions whose weights are in one stack."""
    cells: dict[Cell, list[Function]] = {}
    for one in functions:
        cells.setdefault(one.cell, []).append(one)
    for cell, group in cells.items():
        for view in views:
            part = _part(view)
            errors = _error(_outputs(stack, cell, part), part.y)
            yield from (Trial(one, view, float(errors[places[id(one.weights)]])) for one in group)


def _views(function: Function, x: Array, y: Array, start: tuple[Array, ...] | None) -> list[View]:
    """The readings of the example for a function's sizes and states."""
    if start is not None and len(start) != len(function.cell.states):
        return []
    return list(views(x, y, start, function.hidden, function.inputs))


def _part(view: View) -> View:
    steps = STEPS if view.y.ndim == 3 else len(view.x)
    start = None if view.start is None else tuple(one[:ROWS] for one in view.start)
    y = view.y[:steps, :ROWS] if view.y.ndim == 3 else view.y[:ROWS]
    return View(view.x[:steps, :ROWS], y, start, view.said)


def _error(found: Array, y: Array) -> Array:
    """The largest absolute difference of each, [functions]."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(found - y).reshape(len(found), -1).max(axis=1)
    return np.where(np.isfinite(off), off, np.inf)
