"""Calls over what is no tensor: torch's packed sequences, and the nodes of ``torch.fx``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from grus.arguments import ResetTo, check_further_names
from grus.errors import InputError, KindError, ShapeError
from grus.kernels import Steps
from grus.layers import inputs, parameters, stack, surface
from grus.layers.inputs import BOTH, Directions
from grus.layers.states import State, final, initial
from grus.layers.torch_state import exporting, jit_state

if TYPE_CHECKING:
    from grus.layers.recurrent import Recurrent


def no_tensor(
    layer: Recurrent,
    input: Any,
    hx: State | None,
    lengths: Any,
    resets: Any,
    reset_to: ResetTo,
    further: Mapping[str, Any],
) -> tuple[Any, State]:
    """What a layer gives for an input that is no tensor.

    Raises KindError for what is neither packed nor a node, ShapeError for a packed sequence with
    ``lengths`` or ``resets``, InputError where torch's exporter has none.
    """
    if isinstance(input, Proxy):
        options: dict[str, Any] = {"lengths": lengths, "resets": resets, "reset_to": reset_to}
        usual = lengths is None and resets is None and not further
        node: tuple[Any, State] = surface.leaf(layer, input, hx, {} if usual else options, further)
        return node
    if not isinstance(input, PackedSequence):
        raise KindError(f"input must be a Tensor or a PackedSequence, got {type(input).__name__}")
    if lengths is not None or resets is not None:
        raise ShapeError("a PackedSequence has its lengths; give lengths= and resets= with x")
    if exporting():
        raise InputError(
            "torch.export has no packed sequences: give the padded input with lengths="
        )
    check_further_names(layer.cell.name, [node.name for node in layer.cell.further], further)
    if jit_state() is not None:
        result: tuple[PackedSequence, State] = surface.packed(layer, input, hx)
        return result
    return packed_call(layer, input, hx, further)


@surface.not_compiled
def packed_call(
    layer: Recurrent, packed: PackedSequence, hx: State | None, further: Mapping[str, Any]
) -> tuple[PackedSequence, State]:
    """A layer over a packed sequence, and further inputs that are packed alike."""
    if layer.positions is not None:
        raise InputError(
            f"cell {layer.cell.name} reads other positions, which a PackedSequence has not: give"
            " the padded input with lengths="
        )
    check_packed(packed.data, parameters.tensor(layer, layer._first), layer.input_size)
    packing = Packing.of(packed)
    x = packing.pad(packed.data)
    padded = {name: packing.alike(name, value) for name, value in further.items()}
    more = inputs.further(layer.cell, layer._axes(0), x, padded, False)
    names, sizes = layer.cell.states, layer._state_sizes
    start = initial(names, sizes, len(layer._rows), x, packing.sorted(hx), 3)

    def drop(y: Tensor) -> Tensor:
        # Of the elements alone, as torch draws them.
        return packing.pad(layer._drop(packing.pack(y)))

    y, rows = stack.through(layer, x, start, packing.steps, drop, more)
    return packing.result(packing.pack(y)), packing.unsorted(final(rows, 3))


def check_packed(data: Tensor, weight: Tensor, size: int) -> None:
    """The same of a packed sequence's data, [elements, input]."""
    if data.dim() != 2:
        raise ShapeError(f"input must have 2 dimensions, got {data.dim()}: packed data")
    if data.shape[1] != size:
        raise ShapeError(f"packed data must be [elements, {size}], got {tuple(data.shape)}")
    inputs.check_dtype(data, weight)


@dataclass(frozen=True)
class Packing:
    """Where each element of a packed sequence stands in the padded one, [time, batch] flattened.

    Rows stay in the packed order, longest first.
    """

    packed: PackedSequence
    steps: Directions
    places: Tensor | None
    """[elements]: the padded place of each packed element; None where nothing is padded."""
    sources: Tensor | None
    """[time * batch]: the packed element for each place; where there is none, any other one."""

    @classmethod
    def of(cls, packed: PackedSequence) -> Packing:
        """The packing of ``packed``, whose data are [elements, input]."""
        counts = packed.batch_sizes.numpy()
        valid = counts[:, None] > np.arange(counts[0])
        if valid.all():
            return cls(packed, BOTH, None, None)
        lengths = valid.sum(0)
        flat, device = valid.ravel(), packed.data.device
        return cls(
            packed,
            (Steps(lengths=lengths), Steps(lengths=lengths, reverse=True)),
            torch.from_numpy(np.flatnonzero(flat)).to(device),
            torch.from_numpy(np.cumsum(flat) - 1).to(device),
        )

    def pad(self, data: Tensor) -> Tensor:
        """[elements, features] -> [time, batch, features]; padding repeats other elements."""
        time, batch = len(self.packed.batch_sizes), int(self.packed.batch_sizes[0])
        padded = data if self.sources is None else data.index_select(0, self.sources)
        return padded.view(time, batch, data.shape[1])

    def alike(self, name: str, value: Any) -> Tensor:
        """The padded form of another packed sequence of the same rows, in the same order."""
        if not isinstance(value, PackedSequence):
            raise KindError(f"{name} must be packed like the input, got {type(value).__name__}")
        orders = self.packed.sorted_indices, value.sorted_indices
        if not torch.equal(self.packed.batch_sizes, value.batch_sizes) or not _same(*orders):
            raise ShapeError(f"{name} is packed in other lengths or another order than the input")
        data = value.data
        return self.pad(data.unsqueeze(1) if data.dim() == 1 else data)

    def pack(self, padded: Tensor) -> Tensor:
        """[time, batch, features] -> [elements, features]."""
        flat = padded.reshape(-1, padded.shape[2])
        return flat if self.places is None else flat.index_select(0, self.places)

    def sorted(self, hx: State | None) -> State | None:
        """Initial states [rows, batch, size] from the caller's order in the packed one."""
        return _ordered(hx, self.packed.sorted_indices)

    def unsorted(self, hx: State) -> State:
        """Final states in the caller's order."""
        states = _ordered(hx, self.packed.unsorted_indices)
        assert states is not None
        return states

    def result(self, data: Tensor) -> PackedSequence:
        """A packed sequence of ``data`` [elements, features] of the same lengths and order."""
        packed = self.packed
        return PackedSequence(
            data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )


def _same(order: Tensor | None, other: Tensor | None) -> bool:
    if order is None or other is None:
        return order is other
    return torch.equal(order, other)


def _ordered(hx: State | None, order: Tensor | None) -> State | None:
    if hx is None or order is None:
        return hx
    if isinstance(hx, Tensor):
        return hx.index_select(1, order)
    return tuple(state.index_select(1, order) for state in hx)
