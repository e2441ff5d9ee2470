"""The long products over all steps and rows: weight gradients and dL/dx."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.equations import Cell, Expr, Input, Name, State, Weight
from grus.kernels.layout import Layout

Array = np.ndarray[Any, np.dtype[Any]]
Matmul = Callable[[Array, Array, Array], None]
"""``matmul(a, b, out)``: out = a @ b, for matrices with any strides."""


def numpy_matmul(a: Array, b: Array, out: Array) -> None:
    """NumPy's product."""
    np.matmul(a, b, out=out)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of a family and columns of the adjoints that follow on each other: one product."""

    family: str
    operand: str
    row: int
    column: int
    length: int

    @property
    def rows(self) -> slice:
        """The rows of the family."""
        return slice(self.row, self.row + self.length)

    def follows(self, last: Stretch | None) -> bool:
        """True where this stretch begins as the last one ends."""
        return last is not None and (self.family, self.operand, self.row, self.column) == (
            last.family,
            last.operand,
            last.row + last.length,
            last.column + last.length,
        )


class Products:
    """The products of one backward call; ``adjoints`` is [..., columns], as `Layout` has them, all
    steps and rows before."""

    def __init__(
        self,
        cell: Cell,
        layout: Layout,
        sizes: Mapping[str, int],
        adjoints: Array,
        matmul: Matmul,
    ) -> None:
        self.cell, self.layout, self.sizes, self.matmul = cell, layout, sizes, matmul
        *lead, columns = adjoints.shape
        self.flat = adjoints.reshape(math.prod(lead), columns)

    def weights(
        self, kept: Mapping[str, Array], sums: Array, weights: Mapping[str, Array]
    ) -> dict[str, Array]:
        """dL/d(weights by family). ``kept`` has the operands, ``sums`` the vectors' gradients."""
        found = {family: np.zeros_like(weights[family]) for family in self.cell.families}
        terms: list[tuple[Weight, str, Expr]] = []
        for term in self.layout.derived.weights:
            if term.operand is not None:
                terms.append((term.weight, term.adjoint, term.operand))
                continue
            into = found[term.weight.family][self.rows(term.weight)]
            into += sums[self.layout.sums.index(term.adjoint), : len(into)]
        flat: dict[str, Array] = {}
        for stretch in self.stretches(terms):
            if stretch.operand not in flat:
                operand = kept[stretch.operand]
                flat[stretch.operand] = operand.reshape(len(self.flat), operand.shape[-1])
            into = found[stretch.family][stretch.rows]
            product = np.empty_like(into)
            self.matmul(self.columns(stretch).T, flat[stretch.operand], product)
            into += product
        return found

    def x(self, weights: Mapping[str, Array], inputs: int) -> Array:
        """dL/dx [steps, input]: the adjoints times the weights, all steps at once."""
        terms = [(w, name, Input("x")) for w, name in self.layout.derived.dx if w is not None]
        total: Array | None = None
        for stretch in self.stretches(terms):
            product = np.empty((len(self.flat), inputs), self.flat.dtype)
            self.matmul(self.columns(stretch), weights[stretch.family][stretch.rows], product)
            total = product if total is None else np.add(total, product, out=total)
        if total is None:
            total = np.zeros((len(self.flat), inputs), self.flat.dtype)
        for weight, name in self.layout.derived.dx:
            if weight is None:
                at, size = self.layout.place(name, self.sizes)
                total += self.flat[:, at : at + size]
        return total

    def rows(self, weight: Weight) -> slice:
        """The rows of a weight in its family's stack."""
        size = self.sizes[self.cell.family_axes(weight.family)[0]]
        first = self.cell.families[weight.family].index(weight.gate) * size
        return slice(first, first + size)

    def columns(self, stretch: Stretch) -> Array:
        """The adjoints of a stretch, [time * batch, columns]."""
        return self.flat[:, stretch.column : stretch.column + stretch.length]

    def stretches(self, terms: Iterable[tuple[Weight, str, Expr]]) -> list[Stretch]:
        """Terms merged wherever both their rows and their columns follow on each other."""
        single = []
        for weight, adjoint, operand in terms:
            assert isinstance(operand, (Name, State, Input))
            column, length = self.layout.place(adjoint, self.sizes)
            row = self.rows(weight).start
            single.append(Stretch(weight.family, operand.name, row, column, length))
        merged: list[Stretch] = []
        for one in sorted(single, key=lambda s: (s.family, s.operand, s.row, s.column)):
            last = merged[-1] if merged else None
            if last and one.follows(last):
                merged[-1] = replace(last, length=last.length + one.length)
            else:
                merged.append(one)
        return merged
