"""From the adjoints of a backward kernel to every gradient: products, as terms of one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from grus.equations import Cell, Expr, Input, Name, State, Weight, columns
from grus.kernels import DType, Frame, Layout, Side, Term, Terms, address, layout
from grus.runtime.calls import Weights


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
    first: int = 0
    """The first element of the operand that takes part: a block's."""

    def follows(self, last: Stretch | None) -> bool:
        """True where this stretch begins as the last one ends."""
        if last is None or self.turned_columns:
            return False
        return (self.family, self.operand, self.first, self.row, self.column) == (
            last.family,
            last.operand,
            last.first,
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
    inputs: tuple[Columns, ...]
    """Of dL/dx: the columns of x, then those of each further input."""


@dataclass(frozen=True)
class Columns:
    """Columns of dL/dx and what they are made of."""

    first: int
    count: int
    products: tuple[Stretch, ...]
    direct: tuple[tuple[int, int], ...]
    """Columns of adjoints that are parts of it as they are: the first, how many."""
    number: bool
    """Whether it is one number, so that columns of adjoints are added up."""


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
            matrices[family] += _stretches(
                cell, plan, sizes, term.weight, term.adjoint, term.operand, term.turned
            )
    places = columns(cell, sizes)
    numbers = {node.name for node in cell.further if node not in cell.shapes.inputs}

    def inputs(name: str, terms: Sequence[tuple[Weight | None, str]]) -> Columns:
        direct = [plan.place(adjoint, sizes) for weight, adjoint in terms if weight is None]
        products = [
            stretch
            for weight, adjoint in terms
            if weight is not None
            for stretch in _stretches(cell, plan, sizes, weight, adjoint, Input(name))
        ]
        return Columns(*places[name], _merged(products), tuple(direct), name in numbers)

    size = {f: sizes[cell.family_axes(f)[0]] for f in cell.families}
    return Recipe(
        tuple(
            (f, _whole(stretches, len(cell.families[f]) * size[f]), _merged(stretches))
            for f, stretches in matrices.items()
        ),
        tuple((f, size[f], tuple(map(tuple, stretches))) for f, stretches in vectors.items()),
        tuple(inputs(name, terms) for name, terms in plan.derived.inputs),
    )


def _stretches(
    cell: Cell,
    plan: Layout,
    sizes: Mapping[str, int],
    weight: Weight,
    adjoint: str,
    operand: Expr,
    turned: bool = False,
) -> list[Stretch]:
    """One for each block of the weight."""
    assert isinstance(operand, (Name, State, Input))
    column, length = plan.place(adjoint, sizes)
    family, count = weight.family, cell.reading(weight.family)[1]
    size, wide = cell.weight_shape(family, sizes)
    row, deep, part = (
        cell.families[family].index(weight.gate) * size,
        size // count,
        length // count,
    )
    return [
        Stretch(
            family,
            operand.name,
            row + k * deep,
            column + k * part,
            deep,
            part if turned else 0,
            k * (deep if turned else wide),
        )
        for k in range(count)
    ]


def _merged(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """Merged wherever both their rows and their columns follow on each other."""
    merged: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda s: (s.family, s.operand, s.row, s.column)):
        last = merged[-1] if merged else None
        if last and stretch.follows(last):
            merged[-1] = replace(last, length=last.length + stretch.length)
        else:
            merged.append(stretch)
    return tuple(merged)


def _whole(stretches: list[Stretch], rows: int) -> bool:
    """Whether the stretches are all rows, each once."""
    ends = [0]
    for stretch in sorted(stretches, key=lambda s: s.row):
        if stretch.row != ends[-1]:
            return False
        ends.append(stretch.row + stretch.length)
    return ends[-1] == rows


ONES = {name: np.ones(1, name) for name in ("float32", "float64")}


@dataclass(frozen=True)
class GradientTerms:
    """What follows a backward kernel: every gradient, as terms of one compiled call.

    Its buffers are those of the call, the sums, 0, then dL/dx and the weights' gradients.
    """

    weights: Weights
    dtype: DType
    recipe: Recipe
    columns: int
    """Of the adjoints, which are buffer ``flat``."""
    flat: int
    sums: int
    operands: Mapping[str, tuple[int, int, int, int]]
    """What products read: buffer, bytes of a row of all that stands before it there, bytes before
    it in its own row, and from row to row."""
    places: tuple[tuple[int, int], ...]
    """Address and bytes of a row of each tensor of weights."""
    sizes: Mapping[str, int]
    """Of the axes."""
    wanted: tuple[bool, bool]
    """Whether dL/dx, whether the weights' gradients."""

    def __call__(self, frame: Frame, rows: int) -> Terms:
        """The terms for so many steps of rows, where the sums stand as in ``frame``."""
        dx, training = self.wanted
        terms = [*self._x(rows)] if dx else []
        for k in range(len(self.weights.names) if training else 0):
            terms += self._tensor(k, frame, rows)
        return Terms(self.dtype, terms)

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return ONES[self.dtype].itemsize

    @property
    def unit(self) -> Side:
        """The number 1, for every i and k."""
        return (self.sums + 1, address(ONES[self.dtype]), 0, 0)

    def _tensor(self, tensor: int, frame: Frame, rows: int) -> Iterator[Term]:
        result, cell = self.sums + 3 + tensor, self.weights.cell
        families = [family for family, _ in self.weights.parts[tensor]]
        for family, whole, stretches in self.recipe.matrices:
            if family != families[0]:
                continue
            columns = cell.weight_shape(family, self.sizes)[1]
            row = columns * self.item
            every = self.sizes[cell.family_axes(family)[0]] * len(cell.families[family])
            if not whole:
                yield Term(self.unit, self.unit, (result, 0, row), (every, columns, 0))
            for stretch in stretches:
                buffer, before, first, stride = self.operands[stretch.operand]
                first += before * rows + stretch.first * self.item
                operand = (buffer, first, stride, self.item)
                adjoints = self.adjoints(stretch)
                rows_of, columns_of = (adjoints, operand)[:: -1 if stretch.turned_columns else 1]
                yield Term(
                    rows_of,
                    (*columns_of[:3], 0),
                    (result, stretch.row * row, row),
                    (stretch.length, columns, rows),
                    adds=not whole,
                    part=(stretch.row, every),
                )
        yield from self._vectors(result, tensor, frame)

    def adjoints(self, stretch: Stretch) -> Side:
        """The adjoints of a stretch, one after the other along i, a step of a row after the other
        along k."""
        return (self.flat, stretch.column * self.item, self.columns * self.item, self.item)

    def _vectors(self, result: int, tensor: int, frame: Frame) -> Iterator[Term]:
        """Sums over time and batch, a part of them in each slice."""
        slices, names, padded = frame.shape
        row = padded * self.item
        for gate, count, size, sums in _together(self._gates(tensor)):
            row_bytes = size * self.item
            into = (result, gate * row_bytes, row_bytes)
            if not sums:
                yield Term(self.unit, self.unit, into, (count, size, 0))
            for k, at in enumerate(sums):
                held = (self.sums, at * row, names * row, row)
                yield Term(self.unit, held, into, (count, size, slices), adds=k > 0)

    def _gates(self, tensor: int) -> list[tuple[int, tuple[int, ...]]]:
        """(size, sums) of each gate in a tensor of vectors; nothing for one of matrices."""
        gates_of = {family: (size, gates) for family, size, gates in self.recipe.vectors}
        gates = self.weights.cell.families
        return [
            (gates_of[family][0], gates_of[family][1][gates[family].index(gate)])
            for family, gate in self.weights.parts[tensor]
            if family in gates_of
        ]

    def _x(self, rows: int) -> Iterator[Term]:
        row, adjoints = self.width * self.item, self.columns * self.item
        for part in self.recipe.inputs:
            into = (self.sums + 2, part.first * self.item, row)
            begun = not part.products or any(stretch.first for stretch in part.products)
            if begun:
                yield Term(self.unit, self.unit, into, (rows, part.count, 0))
            for stretch in part.products:
                place, stride = self.places[self.weights.tensor(stretch.family)]
                count = self.weights.cell.weight_shape(stretch.family, self.sizes)[1]
                yield Term(
                    (self.flat, stretch.column * self.item, self.item, adjoints),
                    (self.sums + 1, place + stretch.row * stride, stride, 0),
                    (into[0], into[1] + stretch.first * self.item, row),
                    (rows, count, stretch.length),
                    adds=begun,
                )
                begun = True
            for column, size in part.direct:
                held = (self.flat, column * self.item, self.item if part.number else 0, adjoints)
                once = (rows, 1, size) if part.number else (rows, size, 1)
                yield Term(self.unit, held, into, once, adds=True)

    @property
    def width(self) -> int:
        """Numbers of a row of dL/dx."""
        return sum(part.count for part in self.recipe.inputs)


def _together(
    gates: list[tuple[int, tuple[int, ...]]],
) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """(first gate, how many, size, sums of the first), gates together whose single sums follow on
    each other."""
    at = 0
    while at < len(gates):
        size, sums = gates[at]
        end = at + 1
        while len(sums) == 1 and gates[end : end + 1] == [(size, (sums[0] + end - at,))]:
            end += 1
        yield at, end - at, size, sums
        at = end
