"""Where a trace's numbers come from: layers of grus or torch, and a sequence, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.equations import Cell
from grus.errors import InputError
from grus.traces.record import Stack

if TYPE_CHECKING:
    from torch import Tensor

    from grus.arguments import ResetTo
    from grus.layers.stepping import Directions

Array = np.ndarray[Any, np.dtype[Any]]
WIDE = ("float32", "float64")


@dataclass(frozen=True, eq=False)
class Source:
    """A stack of layers, and the layout of its input. Its arrays are the parameters' own memory."""

    stack: Stack
    inputs: int
    sizes: dict[str, int]
    """Of the axes of states: hidden, and projection where there is one."""
    batch_first: bool
    dtype: np.dtype[Any]

    @property
    def cell(self) -> Cell:
        """The cell of all layers, masks replaced by their means."""
        return self.stack.cell


@dataclass(frozen=True, eq=False)
class Given:
    """A sequence ``x`` [time, batch, input]; ``dims`` and ``batch_first`` are the caller's."""

    x: Array
    dims: int
    batch_first: bool
    lengths: Any


def read(layer: Any) -> Source:
    """A layer's cell and weights. Raises InputError for what is no layer that a trace can read."""
    from grus.dialects import TorchRecord
    from grus.dialects.torch_module import current
    from grus.layers import Recurrent
    from grus.layers.binding import bind
    from grus.layers.exchange import CELLS
    from grus.layers.parameters import one, suffixes

    base = _base(layer)
    cell = layer.cell if isinstance(layer, Recurrent) else CELLS[base](layer)
    record = TorchRecord(cell)
    axes = {"input": layer.input_size, "hidden": layer.hidden_size, "projection": layer.proj_size}
    names = tuple(record.shapes(axes, layer.bias))
    first = one(layer, getattr(layer, "_first", "weight_ih_l0"))
    rows = []
    for end in suffixes(layer.num_layers, layer.bidirectional):
        tensors = current(layer, [name + end for name in names])
        found = {name: tensors[name + end] for name in names}
        for name, tensor in [("the layer", first), *((n + end, t) for n, t in found.items())]:
            if not tensor.is_cpu or tensor.dtype != first.dtype or _name(tensor) not in WIDE:
                raise InputError(
                    "the kernels write a trace in float32 or float64 on the CPU;"
                    f" {name} is {_name(tensor)} on {tensor.device}"
                )
        rows.append(bind(record, names).weights(tuple(found.values())))
    stack = Stack(cell, tuple(rows), layer.bidirectional)
    return Source(stack, layer.input_size, axes, layer.batch_first, np.dtype(_name(first)))


def _base(layer: Any) -> Any:
    """The class of grus or torch whose call a layer runs. Raises InputError."""
    from torch import nn

    from grus.layers import Recurrent

    bases = (Recurrent, nn.GRU, nn.LSTM, nn.RNN)
    base = next((b for b in bases if isinstance(layer, b)), None)
    if base is None:
        raise InputError(
            "a trace is of a layer: grus.Recurrent, GRU, LSTM, RNN or torch's nn.GRU, nn.LSTM,"
            f" nn.RNN; got {type(layer).__name__}"
        )
    if type(layer).forward is not base.forward or "forward" in layer.__dict__:
        raise InputError(
            f"{type(layer).__name__} has a forward of its own, which a trace would not follow;"
            f" give the plain {base.__name__} inside"
        )
    return base


def joined(sources: Sequence[Source]) -> Source:
    """Layers that follow each other, of one cell and one direction, as one stack."""
    rows = tuple(row for source in sources for row in source.stack.rows)
    return replace(sources[0], stack=replace(sources[0].stack, rows=rows))


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def sequence(source: Source, x: Any, lengths: Any, resets: Any) -> Given:
    """The input in any form that a layer takes. Raises InputError."""
    from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

    size, batch_first = source.inputs, source.batch_first
    if isinstance(x, PackedSequence):
        if lengths is not None or resets is not None:
            raise InputError("a PackedSequence has its lengths; give lengths= and resets= with x")
        x, lengths = pad_packed_sequence(x)
        batch_first = False
    x = plain("x", x, source.dtype)
    if x.ndim not in (2, 3) or x.shape[-1] != size:
        axes = "[batch, time, input]" if batch_first else "[time, batch, input]"
        raise InputError(f"x must be {axes} or [time, input] with {size} inputs, got {x.shape}")
    turned = x[:, None] if x.ndim == 2 else x.swapaxes(0, 1) if batch_first else x
    if turned.shape[-1] > 1 and turned.strides[-1] != turned.itemsize:
        turned = np.ascontiguousarray(turned)
    return Given(turned, x.ndim, batch_first, lengths)


def plain(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """A tensor or an array as an array that shares its memory. Raises InputError."""
    from torch import Tensor

    if isinstance(value, Tensor):
        if not value.is_cpu:
            raise InputError(f"{name} must be on the CPU, got {value.device}")
        if _name(value) != dtype.name:
            raise InputError(f"{name} must be {dtype} like the layer, got {_name(value)}")
        value = value.detach().numpy()
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} must be a tensor or an array, got {type(value).__name__}")
    if value.dtype != dtype:
        raise InputError(f"{name} must be {dtype} like the layer, got {value.dtype}")
    return value


def start(source: Source, state: Any, given: Given) -> list[tuple[Array, ...]]:
    """The initial states of each row of h_n, each [batch, size]; None is zeros. InputError."""
    import torch

    from grus.layers.states import initial

    cell, rows = source.cell, source.stack.rows
    if state is not None:
        several = state if isinstance(state, (tuple, list)) else [state]
        arrays = [plain("state", one, source.dtype) for one in several]
        # Copied: torch warns of memory that may not be written to.
        state = tuple(torch.from_numpy(one.copy()) for one in arrays)
    like = torch.empty((0, given.x.shape[1], 0), dtype=getattr(torch, source.dtype.name))
    sizes = [source.sizes[cell.shapes.states[s]] for s in cell.states]
    found = initial(cell.states, sizes, len(rows), like, state, given.dims)
    return [tuple(np.ascontiguousarray(s.numpy()) for s in row) for row in found]


def both_ways(given: Given, resets: Any, reset_to: ResetTo) -> Directions:
    """The steps forward, and backward in time. Raises InputError."""
    import torch

    from grus.layers.inputs import axes
    from grus.layers.stepping import directions

    like = torch.empty((*given.x.shape[:2], 0))
    stand = axes(given.dims, given.batch_first)
    return directions(like, given.lengths, resets, reset_to, stand)
