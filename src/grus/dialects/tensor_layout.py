"""How a record stores the weights of one layer in one direction, and the one way in and out of it.

What a tensor holds is a short text:

    W.zrn               the blocks W.z, W.r, W.n, one below the other
    W.rz & U.rz         two such stacks side by side: a matrix for [x; h]
    b.zrn / a.zr d.n    a bias of two rows
    b.zrn a.zr d.n      one vector

Families are the cell's; ``a`` is a second bias of a gate, which is added to b. The text is for
rows, W @ x; a framework with gates in its columns stores the matrices transposed.

`Packing.cut` finds each block in its tensor, and `Packing.join` puts each block where `cut` finds
it, so that one undoes the other whatever the text says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell, Weight
from grus.errors import InputError

Array = Any
Sizes = tuple[int, int]
"""(hidden, input)."""
MATRICES = "WU"
ADDED = "a"
SECOND = "second"
"""The family of a second bias of which it is not known yet what it is: see `second`."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a framework: its name, and its blocks."""

    name: str
    parts: tuple[tuple[Weight, ...], ...]
    """Stacks side by side for a matrix; rows for a bias of two rows; one part otherwise."""

    @property
    def matrix(self) -> bool:
        """True for weights, False for a bias."""
        return self.parts[0][0].family in MATRICES

    @property
    def blocks(self) -> tuple[Weight, ...]:
        """All that it holds, in its order."""
        return tuple(block for part in self.parts for block in part)

    @property
    def text(self) -> str:
        """What it holds, in the language above."""
        stacks = [" ".join(block.name for block in part) for part in self.parts]
        return (" & " if self.matrix else " / ").join(stacks)

    def widths(self, hidden: int, inputs: int) -> list[int]:
        """How wide each stack of a matrix is."""
        return [inputs if part[0].family == "W" else hidden for part in self.parts]

    def shape(self, hidden: int, inputs: int, columns: bool) -> tuple[int, ...]:
        """The shape for these sizes."""
        long = len(self.parts[0]) * hidden
        if self.matrix:
            wide = sum(self.widths(hidden, inputs))
            return (wide, long) if columns else (long, wide)
        return (long,) if len(self.parts) == 1 else (len(self.parts), long)


@lru_cache(maxsize=1024)
def parse(name: str, text: str) -> Tensor:
    """The tensor that a text of the page above describes."""
    pieces = text.split("&") if "&" in text else text.split("/")
    return Tensor(name, tuple(tuple(_stack(piece)) for piece in pieces))


def _stack(text: str) -> Iterable[Weight]:
    for word in text.split():
        family, _, gates = word.partition(".")
        yield from (Weight(family, gate) for gate in gates)


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """The tensors of one layer in one direction, and which way round their matrices are."""

    tensors: tuple[Tensor, ...]
    columns: bool = False
    turned: bool = False
    """True where each gate's block is the memory of its matrix [H, I], under the shape [I, H]."""

    def shape(self, tensor: Tensor, sizes: Sizes) -> tuple[int, ...]:
        """The shape of one of the tensors for these sizes."""
        return tensor.shape(*sizes, self.columns)

    def cut(self, arrays: Mapping[str, Array], sizes: Sizes) -> dict[Weight, Array]:
        """Every block of these tensors, by weight, rows first."""
        found: dict[Weight, Array] = {}
        for tensor in self.tensors:
            if tensor.name in arrays:
                found |= self._blocks(tensor, arrays[tensor.name], sizes)
        return found

    def join(self, single: Mapping[Weight, Array], sizes: Sizes) -> dict[str, Array]:
        """The tensors with every block where `cut` finds it; a block that is not there is 0, and a
        tensor of which nothing is there is left out."""
        return {
            tensor.name: self._joined(tensor, single, sizes)
            for tensor in self.tensors
            if any(block in single for block in tensor.blocks)
        }

    def _joined(self, tensor: Tensor, single: Mapping[Weight, Array], sizes: Sizes) -> Array:
        shape = tensor.shape(*sizes, self.columns)
        places = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
        held = [block for block in tensor.blocks if block in single]
        whole = np.zeros(places.size, np.result_type(*(single[block] for block in held)))
        found = self._blocks(tensor, places, sizes)
        for block in held:
            whole[found[block]] = single[block]
        return whole.reshape(shape)

    def _blocks(self, tensor: Tensor, array: Array, sizes: Sizes) -> dict[Weight, Array]:
        if tensor.matrix:
            array = _turn(array, len(tensor.parts[0])) if self.turned else array
            rows = array.T if self.columns else array
            stacks = np.split(rows, np.cumsum(tensor.widths(*sizes))[:-1], axis=1)
        else:
            stacks = array.reshape(len(tensor.parts), -1)
        found: dict[Weight, Array] = {}
        for part, stack in zip(tensor.parts, stacks, strict=True):
            found |= zip(part, np.split(stack, len(part)), strict=True)
        return found

    def sizes(self, arrays: Mapping[str, Array], shown: Mapping[str, str]) -> Sizes:
        """(hidden, input) sizes from the matrices; ``shown`` is each tensor's full name.

        Raises InputError when a tensor's shape does not fit its blocks or the other tensors.
        """
        hidden = inputs = 0
        for tensor in self.tensors:
            if tensor.matrix and tensor.name in arrays:
                array = arrays[tensor.name]
                hidden, wide = self._measured(tensor, array, shown[tensor.name], hidden)
                inputs = _inputs(tensor, array, shown[tensor.name], wide, (hidden, inputs))
        return hidden, inputs

    def _measured(self, tensor: Tensor, array: Array, name: str, hidden: int) -> tuple[int, int]:
        """The hidden size that a matrix has, and its other axis."""
        if array.ndim != 2:
            raise InputError(f"{name} must be a matrix, got shape {array.shape}")
        long, wide = array.shape[::-1] if self.columns else array.shape
        size, rest = divmod(long, len(tensor.parts[0]))
        if rest or not size:
            side = "columns" if self.columns else "rows"
            gates = ", ".join(block.name for block in tensor.parts[0])
            raise InputError(f"{name} of shape {array.shape} does not hold {gates} in its {side}")
        if hidden and size != hidden:
            raise InputError(
                f"{name} of shape {array.shape} makes the hidden size {size}, another weight"
                f" makes it {hidden}"
            )
        return size, wide


def _inputs(tensor: Tensor, array: Array, name: str, wide: int, sizes: Sizes) -> int:
    """The input size after a matrix that is so wide."""
    hidden, inputs = sizes
    families = [part[0].family for part in tensor.parts]
    left = wide - hidden * families.count("U")
    if "W" in families:
        if left <= 0 or (inputs and inputs != left):
            wanted = f"of {inputs}" if inputs else "at all"
            raise InputError(f"{name} of shape {array.shape} leaves no input size {wanted}")
        return left
    if left:
        raise InputError(
            f"{name} of shape {array.shape} is not square for each gate: hidden size {hidden}"
        )
    return inputs


def _turn(array: Array, gates: int) -> Array:
    """Blocks [I, H] that are the memory of matrices [H, I], as their transposes.

    What Keras does between CuDNNGRU and GRU (tf_keras saving/legacy/hdf5_format.py,
    `_convert_rnn_weights`): it transposes each gate's block from Fortran's order into C's.
    """
    blocks = np.split(array, gates, axis=1)
    return np.concatenate([m.reshape(m.shape[::-1]).T for m in blocks], axis=1)


# The weights of a cell, and the blocks that hold them.


def second(cell: Cell, gate: str) -> Weight:
    """What a second bias of a gate is: the inner one where the cell has it, else added to b."""
    return Weight("d" if gate in cell.families.get("d", ()) else ADDED, gate)


def weights(cell: Cell, single: Mapping[Weight, Array], hidden: int) -> dict[Weight, Array]:
    """Each weight of the cell: what is not there is 0, a bias that is added is added."""
    single = {second(cell, w.gate) if w.family == SECOND else w: a for w, a in single.items()}
    absent = np.zeros(hidden, np.result_type(*single.values()))
    found = {weight: single.get(weight, absent) for weight in cell.weights}
    for gate in cell.families.get("b", ()):
        if (added := Weight(ADDED, gate)) in single:
            found[Weight("b", gate)] = found[Weight("b", gate)] + single[added]
    return found


def stacked(cell: Cell, single: Mapping[Weight, Array]) -> dict[str, Array]:
    """Weights by family, in the order of the equations."""
    return {
        family: np.concatenate([single[Weight(family, gate)] for gate in gates])
        for family, gates in cell.families.items()
    }


def pair(cell: Cell, single: Mapping[Weight, Array], hidden: int) -> tuple[Array, Array] | None:
    """The two biases of all gates whose sum is b, 0 where one is not there; None where no second
    one is."""
    gates = cell.families.get("b", ())
    if not any(Weight(ADDED, gate) in single for gate in gates):
        return None
    absent = np.zeros(hidden, np.result_type(*single.values()))
    first, added = (
        np.concatenate([single.get(Weight(family, gate), absent) for gate in gates])
        for family in ("b", ADDED)
    )
    return first, added
