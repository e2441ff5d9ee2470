"""The long products over all steps and rows: weight gradients and dL/dx."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
    """Gates of a family and columns of the adjoints that follow on each other: one product."""

    family: str
    operand: str
    row: int
    column: int
    length: int = 1

    def follows(self, last: Stretch | None) -> bool:
        """True where this stretch begins as the last one ends."""
        return last is not None and (self.family, self.operand, self.row, self.column) == (
            last.family,
            last.operand,
            last.row + last.length,
            last.column + last.length,
        )


class Products:
    """The products of one backward call; ``adjoints`` is [..., name, hidden], all steps and rows
    before."""

    def __init__(self, cell: Cell, layout: Layout, adjoints: Array, matmul: Matmul) -> None:
        self.cell, self.layout, self.matmul = cell, layout, matmul
        *lead, names, self.hidden = adjoints.shape
        self.flat = adjoints.reshape(math.prod(lead), names * self.hidden)

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
            rows = self.rows(self.gate(term.weight), 1)
            found[term.weight.family][rows] += sums[self.layout.sums.index(term.adjoint)]
        flat: dict[str, Array] = {}
        for stretch in self.stretches(terms):
            if stretch.operand not in flat:
                operand = kept[stretch.operand]
                flat[stretch.operand] = operand.reshape(len(self.flat), operand.shape[-1])
            into = found[stretch.family][self.rows(stretch.row, stretch.length)]
            product = np.empty_like(into)
            self.matmul(self.columns(stretch).T, flat[stretch.operand], product)
            into += product
        return found

    def x(self, weights: Mapping[str, Array], inputs: int) -> Array:
        """dL/dx [steps, input]: the adjoints times the weights, all steps at once."""
        terms = [(w, name, Input("x")) for w, name in self.layout.derived.dx if w is not None]
        total: Array | None = None
        for stretch in self.stretches(terms):
            rows = self.rows(stretch.row, stretch.length)
            product = np.empty((len(self.flat), inputs), self.flat.dtype)
            self.matmul(self.columns(stretch), weights[stretch.family][rows], product)
            total = product if total is None else np.add(total, product, out=total)
        if total is None:
            total = np.zeros((len(self.flat), inputs), self.flat.dtype)
        for weight, name in self.layout.derived.dx:
            if weight is None:
                at = self.layout.adjoints.index(name) * self.hidden
                total += self.flat[:, at : at + self.hidden]
        return total

    def gate(self, weight: Weight) -> int:
        """The place of a weight in its family's stack."""
        return self.cell.families[weight.family].index(weight.gate)

    def rows(self, first: int, length: int) -> slice:
        """The rows of stacked gates."""
        return slice(first * self.hidden, (first + length) * self.hidden)

    def columns(self, stretch: Stretch) -> Array:
        """The adjoints of a stretch, [time * batch, gates * hidden]."""
        return self.flat[:, self.rows(stretch.column, stretch.length)]

    def stretches(self, terms: Iterable[tuple[Weight, str, Expr]]) -> list[Stretch]:
        """Terms merged wherever both their rows and their columns follow on each other."""
        single = []
        for weight, adjoint, operand in terms:
            assert isinstance(operand, (Name, State, Input))
            column = self.layout.adjoints.index(adjoint)
            single.append(Stretch(weight.family, operand.name, self.gate(weight), column))
        merged: list[Stretch] = []
        for one in sorted(single, key=lambda s: (s.family, s.operand, s.row, s.column)):
            last = merged[-1] if merged else None
            if last and one.follows(last):
                merged[-1] = Stretch(
                    last.family, last.operand, last.row, last.column, last.length + 1
                )
            else:
                merged.append(one)
        return merged
