"""The long products over all steps and rows: weight gradients and dL/dx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell, Expr, Input, Name, State, Weight
from grus.kernels.layout import Layout, layout
from grus.kernels.terms import matmul

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of a family and columns of the adjoints that follow on each other: one product."""

    family: str
    operand: str
    row: int
    column: int
    length: int
    turned_columns: int = 0
    """Of the adjoints, which are the result's columns, where the step used the matrix transposed;
    else the adjoints are its rows."""

    @property
    def rows(self) -> slice:
        """The rows of the family."""
        return slice(self.row, self.row + self.length)

    def follows(self, last: Stretch | None) -> bool:
        """True where this stretch begins as the last one ends."""
        if last is None or self.turned_columns:
            return False
        return (self.family, self.operand, self.row, self.column) == (
            last.family,
            last.operand,
            last.row + last.length,
            last.column + last.length,
        )


@dataclass(frozen=True)
class Recipe:
    """What the gradients of a cell are made of at certain sizes."""

    matrices: tuple[tuple[str, bool, tuple[Stretch, ...]], ...]
    """Family, whether its stretches are all its rows, each once; the stretches."""
    vectors: tuple[tuple[str, int, tuple[tuple[int, ...], ...]], ...]
    """Family, the size of a gate, the sums that make each gate."""
    x: tuple[Stretch, ...]
    direct: tuple[tuple[int, int], ...]
    """Columns of adjoints that are parts of dL/dx as they are: the first, how many."""


@lru_cache(maxsize=256)
def recipe(cell: Cell, axes: tuple[tuple[str, int], ...]) -> Recipe:
    """The recipe of a cell for (axis, size) of each axis."""
    plan, sizes = layout(cell), dict(axes)
    matrices: dict[str, list[Stretch]] = {}
    vectors: dict[str, list[list[int]]] = {}
    for family, gates in cell.families.items():
        if len(cell.family_axes(family)) == 1:
            vectors[family] = [[] for _ in gates]
        else:
            matrices[family] = []
    for term in plan.derived.weights:
        family = term.weight.family
        if term.operand is None:
            gate = cell.families[family].index(term.weight.gate)
            vectors[family][gate].append(plan.sums.index(term.adjoint))
        else:
            matrices[family].append(
                _stretch(cell, plan, sizes, term.weight, term.adjoint, term.operand, term.turned)
            )
    direct = [plan.place(name, sizes) for weight, name in plan.derived.dx if weight is None]
    terms = [
        _stretch(cell, plan, sizes, weight, name, Input("x"))
        for weight, name in plan.derived.dx
        if weight is not None
    ]
    size = {f: sizes[cell.family_axes(f)[0]] for f in cell.families}
    return Recipe(
        tuple(
            (f, _whole(found, len(cell.families[f]) * size[f]), _merged(found))
            for f, found in matrices.items()
        ),
        tuple((f, size[f], tuple(map(tuple, found))) for f, found in vectors.items()),
        _merged(terms),
        tuple(direct),
    )


def _stretch(
    cell: Cell,
    plan: Layout,
    sizes: Mapping[str, int],
    weight: Weight,
    adjoint: str,
    operand: Expr,
    turned: bool = False,
) -> Stretch:
    assert isinstance(operand, (Name, State, Input))
    column, length = plan.place(adjoint, sizes)
    size = sizes[cell.family_axes(weight.family)[0]]
    row = cell.families[weight.family].index(weight.gate) * size
    if turned:
        return Stretch(weight.family, operand.name, row, column, size, length)
    return Stretch(weight.family, operand.name, row, column, length)


def _merged(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """Merged wherever both their rows and their columns follow on each other."""
    merged: list[Stretch] = []
    for one in sorted(stretches, key=lambda s: (s.family, s.operand, s.row, s.column)):
        last = merged[-1] if merged else None
        if last and one.follows(last):
            merged[-1] = replace(last, length=last.length + one.length)
        else:
            merged.append(one)
    return tuple(merged)


def _whole(stretches: list[Stretch], rows: int) -> bool:
    """Whether the stretches are all rows, each once."""
    ends = [0]
    for one in sorted(stretches, key=lambda s: s.row):
        if one.row != ends[-1]:
            return False
        ends.append(one.row + one.length)
    return ends[-1] == rows


class Products:
    """The products of one backward call over arrays; ``flat`` is [steps and rows, columns], the
    adjoints as `Layout` has them."""

    def __init__(self, recipe: Recipe, flat: Array, threads: int | None) -> None:
        self.recipe, self.flat, self.threads = recipe, flat, threads

    def empty(self, shape: tuple[int, ...]) -> Array:
        """An array like the adjoints."""
        return np.empty(shape, self.flat.dtype)

    def matrices(self, kept: Mapping[str, Array]) -> dict[str, Array]:
        """dL/d(matrices by family); ``kept`` has the operands, [..., axis]."""
        found, flat = {}, {}
        for family, whole, stretches in self.recipe.matrices:
            for one in stretches:
                if one.operand not in flat:
                    operand = np.ascontiguousarray(kept[one.operand])
                    flat[one.operand] = operand.reshape(len(self.flat), operand.shape[-1])
            found[family] = self._family(whole, stretches, flat)
        return found

    def _family(
        self, whole: bool, stretches: tuple[Stretch, ...], flat: Mapping[str, Array]
    ) -> Array:
        rows = max(one.row + one.length for one in stretches)
        first = stretches[0]
        into: Array = self.empty((rows, first.turned_columns or flat[first.operand].shape[1]))
        if not whole:
            into[:] = 0
        for one in stretches:
            adjoints, operand = self.columns(one), flat[one.operand]
            if one.turned_columns:
                self.add(into[one.rows], operand.T, adjoints, not whole)
            else:
                self.add(into[one.rows], adjoints.T, operand, not whole)
        return into

    def x(self, weights: Mapping[str, Array], inputs: int) -> Array:
        """dL/dx [steps and rows, input]: the adjoints times the weights, all at once."""
        total = self.empty((len(self.flat), inputs))
        if not self.recipe.x:
            total[:] = 0
        for k, one in enumerate(self.recipe.x):
            own = np.ascontiguousarray(weights[one.family][one.rows])
            self.add(total, self.columns(one), own, k > 0)
        for at, size in self.recipe.direct:
            total += self.flat[:, at : at + size]
        return total

    def add(self, into: Array, a: Array, b: Array, adds: bool) -> None:
        """into = a @ b, or that added to it."""
        matmul(a, b, into, adds=adds, most_threads=self.threads)

    def columns(self, stretch: Stretch) -> Array:
        """The adjoints of a stretch, [steps and rows, columns]."""
        return self.flat[:, stretch.column :][:, : stretch.turned_columns or stretch.length]


def vectors(recipe: Recipe, sums: Array) -> dict[str, Array]:
    """dL/d(vectors by family), from the sums that a backward call gives."""
    found = {}
    for family, size, gates in recipe.vectors:
        first = gates[0][0] if gates[0] else -1
        if gates == tuple((first + k,) for k in range(len(gates))):
            found[family] = sums[first : first + len(gates), :size].reshape(-1)
            continue
        into = np.zeros((len(gates), size), sums.dtype)
        for k, terms in enumerate(gates):
            for term in terms:
                into[k] += sums[term, :size]
        found[family] = into.reshape(-1)
    return found
