"""`PackedSequence` in and out: padded with lengths inside, one gather each way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from grus.kernels import Steps
from grus.layers.states import State
from grus.layers.stepping import BOTH, Directions


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

    def pack(self, padded: Tensor) -> Tensor:
        """[time, batch, features] -> [elements, features]."""
        flat = padded.reshape(-1, padded.shape[2])
        return flat if self.places is None else flat.index_select(0, self.places)

    def sorted(self, hx: State | None) -> State | None:
        """Initial states [rows, batch, size] from the caller's order in the packed one."""
        return _ordered(hx, self.packed.sorted_indices)

    def unsorted(self, hx: State) -> State:
        """Final states in the caller's order."""
        found = _ordered(hx, self.packed.unsorted_indices)
        assert found is not None
        return found

    def result(self, data: Tensor) -> PackedSequence:
        """A packed sequence of ``data`` [elements, features] of the same lengths and order."""
        given = self.packed
        return PackedSequence(data, given.batch_sizes, given.sorted_indices, given.unsorted_indices)


def _ordered(hx: State | None, order: Tensor | None) -> State | None:
    if hx is None or order is None:
        return hx
    if isinstance(hx, Tensor):
        return hx.index_select(1, order)
    return tuple(state.index_select(1, order) for state in hx)
