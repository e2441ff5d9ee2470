"""Hypotheses, with those that are one function by construction taken together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from grus.dialects.records import DIALECTS
from grus.equations import Cell, Weight
from grus.identification.fit import Fit, dialects_of, is_option
from grus.identification.given import Example, Stacked, chunks, views
from grus.identification.variants import CellKind, variants

Array = Any


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One set of equations, and one way to read the weights for them."""

    variant: CellKind
    fit: Fit

    @cached_property
    def dialects(self) -> tuple[str, ...]:
        """The dialects that are just this, by name; those whose names the tensors have first."""
        names = [dialect.name for dialect in dialects_of(self.fit, self.variant)]
        return tuple(sorted(names, key=lambda name: name not in self.fit.own))

    @cached_property
    def options(self) -> tuple[str, ...]:
        """The dialects that are this with activations that their users can choose."""
        return tuple(d.name for d in DIALECTS if is_option(d, self.fit, self.variant))

    @property
    def said(self) -> str:
        """The equations and the reading in words."""
        side = "columns" if self.fit.columns else "rows"
        order = " ".join(self.fit.order)
        gates = f"; gates {order} in the {side}" if len(self.fit.gates) > 1 else f"; in {side}"
        turned = ", blocks as CuDNN has them" if self.fit.turned else ""
        shift = "".join(f"; {more:g} added to b.{gate}" for gate, more in self.fit.shift)
        return f"{self.variant.said}{gates}{turned}{self._biases}{shift}"

    @property
    def _biases(self) -> str:
        cell = self.variant.cell
        held = [
            " / ".join(" ".join(w.name for w in part) for part in parts)
            for parts in self.fit.held(cell)
            if parts[0][0].family not in "WU"
        ]
        return f"; biases {' | '.join(held)}" if held else ""


@dataclass(eq=False)
class Weighted:
    """Hypotheses whose results are the same whatever x and h0 are."""

    cell: Cell
    weights: dict[Weight, Array]
    hidden: int
    inputs: int
    hypotheses: list[Hypothesis] = field(default_factory=list)

    @property
    def dialects(self) -> tuple[str, ...]:
        """Every dialect that is this function with these weights, in the order of the records;
        those whose names the tensors have come first."""
        found = {name for one in self.hypotheses for name in one.dialects}
        own = self.hypotheses[0].fit.own
        listed = [d.name for d in DIALECTS if d.name in found]
        return tuple(sorted(listed, key=lambda name: name not in own))

    @property
    def options(self) -> tuple[str, ...]:
        """The dialects that are this function with activations that their users can choose."""
        found = {name for one in self.hypotheses for name in one.options}
        return tuple(d.name for d in DIALECTS if d.name in found)

    @property
    def papers(self) -> tuple[str, ...]:
        """Dialects that print these equations and have no tensors."""
        cells = {one.variant.cell for one in self.hypotheses}
        return tuple(d.name for d in DIALECTS if not d.tensors and d.cell in cells)

    @property
    def first(self) -> Hypothesis:
        """The hypothesis that names it: one that is a dialect, where there is one."""
        by_name = (one for one in self.hypotheses if one.dialects)
        by_option = (one for one in self.hypotheses if one.options)
        return next(by_name, None) or next(by_option, self.hypotheses[0])

    @property
    def said(self) -> str:
        """The equations and the reading in words."""
        return self.first.said


def functions(found: Iterable[Fit]) -> list[Weighted]:
    """Every hypothesis over these readings, merged into functions.

    Two are one function when their equations and all their weights are equal. Reset after and
    before the product are one where U.n is diagonal (one unit, say) and the inner bias is 0:
    r * (U h) and U (r * h) are then the same products.
    """
    merged: dict[tuple[object, ...], Weighted] = {}
    for fit in found:
        made: dict[tuple[object, ...], tuple[dict[Weight, Array], bytes]] = {}
        for variant in variants(fit.gates):
            cell, weights, mark = _read(fit, variant.cell, made)
            if variant.twin is not None and _commutes(weights):
                cell, weights, mark = _read(fit, variant.twin, made)
            function = merged.setdefault(
                (cell, mark, fit.hidden), Weighted(cell, weights, fit.hidden, fit.inputs)
            )
            function.hypotheses.append(Hypothesis(variant, fit))
    return list(merged.values())


def _read(
    fit: Fit, cell: Cell, made: dict[tuple[object, ...], tuple[dict[Weight, Array], bytes]]
) -> tuple[Cell, dict[Weight, Array], bytes]:
    if cell.weights not in made:
        weights = fit.weights(cell)
        made[cell.weights] = weights, _mark(weights)
    return cell, *made[cell.weights]


def _mark(weights: Mapping[Weight, Array]) -> bytes:
    """Equal for equal weights; -0 counts as 0. Whatever the order in which a cell reads them."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in sorted(weights, key=lambda w: w.name):
        digest.update(f"{weight.name} {weights[weight].shape}".encode())
        digest.update(np.ascontiguousarray(weights[weight] + 0.0).tobytes())
    return digest.digest()


def _commutes(weights: Mapping[Weight, Array]) -> bool:
    matrix, inner = weights[Weight("U", "n")], weights[Weight("d", "n")]
    return not inner.any() and not (matrix - np.diag(np.diag(matrix))).any()


STEPS, ROWS = 3, 2  # the part: enough to tell most hypotheses apart


@dataclass(frozen=True, eq=False)
class Try:
    """A function, a way to read the example, and how far off they are from it."""

    function: Weighted
    view: Example
    error: float
    """The largest absolute difference from y; inf where a number is not finite."""

    def outputs(self, dtype: Any = np.float64) -> Array:
        """What the function gives where the example has y."""
        stack = Stacked.of([self.function.weights], self.function.hidden, dtype)
        return _outputs(stack, self.function.cell, self.view, dtype)[0]


def _outputs(stack: Stacked, cell: Cell, view: Example, dtype: Any = np.float64) -> Array:
    """What functions of one cell give where the example has y, [functions, *y.shape]."""
    found = stack.run(cell, view.x, view.start, dtype)
    return found if view.y.ndim == 3 else found[:, -1]


def search(
    functions: Iterable[Weighted],
    x: Array,
    y: Array,
    start: tuple[Array, ...] | None,
    best: int,
    near: float,
) -> tuple[list[Try], int]:
    """The ``best`` trials by error, and all others that are off by ``near`` or less, ascending;
    and how many were made."""
    rough = sorted(_rough(functions, x, y, start), key=lambda trial: trial.error)
    found: list[Try] = []
    for trial in rough:
        bound = max(near, sorted(t.error for t in found)[best - 1]) if len(found) >= best else near
        if len(found) >= best and trial.error > bound:
            break
        error = _error(trial.outputs()[None], trial.view.y)[0]
        found.append(Try(trial.function, trial.view, float(error)))
    return sorted(found, key=lambda trial: trial.error), len(rough)


def trial(function: Weighted, x: Array, y: Array, start: tuple[Array, ...] | None) -> Try | None:
    """A function in the forward reading of the example that fits it best; None: there is none."""
    found = []
    for view in (one for one in _views(function, x, y, start) if one.forward):
        made = Try(function, view, np.inf)
        found.append(replace(made, error=float(_error(made.outputs()[None], view.y)[0])))
    return min(found, key=lambda one: one.error, default=None)


def _rough(
    functions: Iterable[Weighted], x: Array, y: Array, start: tuple[Array, ...] | None
) -> list[Try]:
    """Every trial, with its error over a part of the example.

    Weights are stacked once for all equations that read the same.
    """
    groups: dict[tuple[object, ...], list[Weighted]] = {}
    for one in functions:
        groups.setdefault((one.cell.weights, one.hidden, one.inputs), []).append(one)
    found: list[Try] = []
    for group in groups.values():
        by_weights: dict[int, list[Weighted]] = {}
        for one in group:
            by_weights.setdefault(id(one.weights), []).append(one)
        for chunk in chunks([of[0].weights for of in by_weights.values()]):
            stack = Stacked.of(chunk, group[0].hidden)
            places = {id(weights): k for k, weights in enumerate(chunk)}
            some = [one for one in group if id(one.weights) in places]
            found += _stacked(some, places, stack, _views(group[0], x, y, start))
    return found


def _stacked(
    functions: list[Weighted], places: Mapping[int, int], stack: Stacked, views: list[Example]
) -> Iterator[Try]:
    """The trials of functions whose weights are in one stack."""
    cells: dict[Cell, list[Weighted]] = {}
    for one in functions:
        cells.setdefault(one.cell, []).append(one)
    for cell, group in cells.items():
        for view in views:
            part = _part(view)
            errors = _error(_outputs(stack, cell, part), part.y)
            yield from (Try(one, view, float(errors[places[id(one.weights)]])) for one in group)


def _views(
    function: Weighted, x: Array, y: Array, start: tuple[Array, ...] | None
) -> list[Example]:
    """The readings of the example for a function's sizes and states."""
    if start is not None and len(start) != len(function.cell.states):
        return []
    return list(views(x, y, start, function.hidden, function.inputs))


def _part(view: Example) -> Example:
    steps = STEPS if view.y.ndim == 3 else len(view.x)
    start = None if view.start is None else tuple(one[:ROWS] for one in view.start)
    y = view.y[:steps, :ROWS] if view.y.ndim == 3 else view.y[:ROWS]
    return Example(view.x[:steps, :ROWS], y, start, view.said)


def _error(found: Array, y: Array) -> Array:
    """The largest absolute difference of each, [functions]."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(found - y).reshape(len(found), -1).max(axis=1)
    return np.where(np.isfinite(off), off, np.inf)
