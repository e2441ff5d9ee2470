"""What follows a backward kernel: every gradient, as terms of one compiled call.

The terms say what `kernels.products` says, for buffers that are addresses: the adjoints times what
the products read, the sums, the adjoints times the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from grus.kernels.frame import Frame
from grus.kernels.machine import DType
from grus.kernels.products import Recipe
from grus.kernels.terms import Side, Term, Terms
from grus.layers.binding import Binding

ONES = {name: np.ones(1, name) for name in ("float32", "float64")}


@dataclass(frozen=True)
class Finish:
    """The terms of one prepared backward call.

    Its buffers are those of the call, the sums, 0, then dL/dx and the parameters' gradients.
    """

    bound: Binding
    dtype: DType
    recipe: Recipe
    rows: int
    """Steps times rows of the batch."""
    columns: int
    """Of the adjoints, which are buffer ``flat``."""
    flat: int
    sums: int
    operands: Mapping[str, tuple[int, int, int]]
    """What products read: buffer, bytes from its beginning, bytes of a row."""
    parameters: tuple[tuple[int, int], ...]
    """Address and bytes of a row, in the binding's order."""
    sizes: Mapping[str, int]
    """Of the axes."""
    wanted: tuple[bool, bool]
    """Whether dL/dx, whether the parameters' gradients."""

    def __call__(self, frame: Frame) -> Terms:
        """The terms where the sums stand as in ``frame``."""
        dx, training = self.wanted
        terms = [*self._x()] if dx else []
        for k, name in enumerate(self.bound.names if training else ()):
            terms += self._parameter(self.sums + 3 + k, name, frame)
        return Terms(self.dtype, terms)

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return ONES[self.dtype].itemsize

    @property
    def one(self) -> Side:
        """The number 1, for every i and k."""
        return (self.sums + 1, ONES[self.dtype].ctypes.data, 0, 0)

    def _parameter(self, result: int, name: str, frame: Frame) -> Iterator[Term]:
        for family, whole, stretches in self.recipe.matrices:
            if self.bound.record.tensor(family) != name:
                continue
            columns = self.sizes[self.bound.cell.family_axes(family)[1]]
            row, rows = columns * self.item, max(s.row + s.length for s in stretches)
            if not whole:
                yield Term(self.one, self.one, (result, 0, row), (rows, columns, 0))
            for one in stretches:
                operand = (*self.operands[one.operand], self.item)
                adjoints = (self.flat, one.column * self.item, self.columns * self.item, self.item)
                rows_of, columns_of = (adjoints, operand)[:: -1 if one.turned_columns else 1]
                yield Term(
                    rows_of,
                    (*columns_of[:3], 0),
                    (result, one.row * row, row),
                    (one.length, columns, self.rows),
                    adds=not whole,
                    part=(one.row, rows),
                )
        yield from self._vectors(result, name, frame)

    def _vectors(self, result: int, name: str, frame: Frame) -> Iterator[Term]:
        """Sums over time and batch, a part of them in each slice."""
        slices, names, padded = frame.shape
        row = padded * self.item
        for gate, count, size, sums in _merged(self._gates(name)):
            own = size * self.item
            into = (result, gate * own, own)
            if not sums:
                yield Term(self.one, self.one, into, (count, size, 0))
            for k, one in enumerate(sums):
                held = (self.sums, one * row, names * row, row)
                yield Term(self.one, held, into, (count, size, slices), adds=k > 0)

    def _gates(self, name: str) -> list[tuple[int, tuple[int, ...]]]:
        """(size, sums) of each gate in a tensor of vectors; nothing for one of matrices."""
        record, families = self.bound.record, self.bound.cell.families
        made = {family: (size, gates) for family, size, gates in self.recipe.vectors}
        if name == "bias_hh":
            inner = families.get("d", ())
            where = [("d" if gate in inner else "b", gate) for gate in record.gates_hh]
        else:
            family = next(f for f in families if f != "d" and record.tensor(f) == name)
            where = [(family, gate) for gate in families[family]] if family in made else []
        return [
            (made[family][0], made[family][1][families[family].index(gate)])
            for family, gate in where
        ]

    def _x(self) -> Iterator[Term]:
        result, inputs = self.sums + 2, self.sizes["input"]
        row, adjoints = inputs * self.item, self.columns * self.item
        begun = False
        for one in self.recipe.x:
            at = self.bound.names.index(self.bound.record.tensor(one.family))
            address, stride = self.parameters[at]
            yield Term(
                (self.flat, one.column * self.item, self.item, adjoints),
                (self.sums + 1, address + one.row * stride, stride, 0),
                (result, 0, row),
                (self.rows, inputs, one.length),
                adds=begun,
            )
            begun = True
        if not begun:
            yield Term(self.one, self.one, (result, 0, row), (self.rows, inputs, 0))
        for column, size in self.recipe.direct:
            held = (self.flat, column * self.item, 0, adjoints)
            yield Term(self.one, held, (result, 0, row), (self.rows, size, 1), adds=True)


def _merged(
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
