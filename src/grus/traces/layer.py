"""`grus.trace`: layers of grus or torch and a sequence in, a `Trace` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grus import runtime
from grus.equations import Cell
from grus.errors import InputError, needed_for
from grus.kernels.backend import backend
from grus.traces.recorded import Trace
from grus.traces.recording import (
    Above,
    Chosen,
    Recording,
    Selection,
    StackedLayers,
    record,
    state_name,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from grus.arguments import ResetTo
    from grus.layers.inputs import Directions


Array = np.ndarray[Any, np.dtype[Any]]
WIDE = ("float32", "float64")


@dataclass(frozen=True, eq=False)
class TracedStack:
    """A stack of layers, and the layout of its input. Its arrays are the parameters' own memory."""

    stack: StackedLayers
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
class Inputs:
    """A sequence ``x`` [time, batch, input]; ``dims`` and ``batch_first`` are the caller's."""

    x: Array
    dims: int
    batch_first: bool
    lengths: Any


def read(layer: Any) -> TracedStack:
    """A layer's cell and weights. Raises InputError for a layer that a trace cannot read."""
    from grus.layers import read_layer
    from grus.layers.parameters import tensor as parameter

    known = read_layer(layer, "a trace")
    first = parameter(layer, getattr(layer, "_first", "weight_ih_l0"))
    rows = []
    for row in known.rows:
        tensors = row.tensors.values()
        for name, tensor in [("the layer", first), *zip(row.names, tensors, strict=True)]:
            if not tensor.is_cpu or tensor.dtype != first.dtype or _name(tensor) not in WIDE:
                raise InputError(
                    "the kernels write a trace in float32 or float64 on the CPU;"
                    f" {name} is {_name(tensor)} on {tensor.device}"
                )
        rows.append(row.weights())
    cells = tuple(row.record.cell for row in known.rows)
    stack = StackedLayers(known.cell, tuple(rows), layer.bidirectional, cells, _above(layer))
    dtype = np.dtype(_name(first))
    return TracedStack(stack, layer.input_size, known.axes, layer.batch_first, dtype)


def _above(layer: Any) -> Above | None:
    """What joins the layers of a stack where their cells do not."""
    import torch

    from grus.layers import joined_output

    connect = getattr(layer, "connect", "")
    if not connect or not (connect == "dense" or layer.bidirectional):
        return None

    def above(number: int, read: Array, y: Array) -> Array:
        # Copied where need be: torch warns of memory that may not be written to.
        tensors = (torch.from_numpy(np.require(array, requirements="W")) for array in (read, y))
        with torch.no_grad():
            joined: Array = joined_output(layer, number, *tensors).numpy()
        return joined

    return above


def joined(sources: Sequence[TracedStack], connect: str = "") -> TracedStack:
    """Layers that follow each other, of one cell and one direction, as one stack; ``connect`` is
    what joins them."""
    rows = tuple(row for source in sources for row in source.stack.rows)
    cells = tuple(cell for source in sources for cell in source.stack.cells)
    above = beside if connect == "dense" else None
    return replace(sources[0], stack=replace(sources[0].stack, rows=rows, cells=cells, above=above))


def beside(layer: int, read: Array, y: Array) -> Array:
    """What the layer above reads in a dense stack."""
    del layer
    return np.concatenate([read, y], axis=-1)


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def sequence(
    source: TracedStack, x: Any, lengths: Any, resets: Any, further: Mapping[str, Any]
) -> Inputs:
    """The input in any form that a layer takes, the further ones behind it. Raises InputError."""
    from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

    size, batch_first = source.inputs, source.batch_first
    if isinstance(x, PackedSequence):
        if lengths is not None or resets is not None:
            raise InputError("a PackedSequence has its lengths; give lengths= and resets= with x")
        odd = [n for n, value in further.items() if not isinstance(value, PackedSequence)]
        if odd:
            raise InputError(f"{odd[0]} must be packed like x")
        x, lengths = pad_packed_sequence(x)
        further = {name: pad_packed_sequence(value)[0] for name, value in further.items()}
        batch_first = False
    x = plain("x", x, source.dtype)
    if x.ndim not in (2, 3) or x.shape[-1] != size:
        axes = "[batch, time, input]" if batch_first else "[time, batch, input]"
        raise InputError(f"x must be {axes} or [time, input] with {size} inputs, got {x.shape}")
    turned = _time_first(x, x.ndim, batch_first)
    if source.cell.further or further:
        beside = {n: _plain(n, value, source.dtype) for n, value in further.items()}
        beside = {n: _time_first(value, x.ndim, batch_first) for n, value in beside.items()}
        turned = runtime.row(source.cell, source.stack.rows[0], turned, beside)
    if turned.shape[-1] > 1 and turned.strides[-1] != turned.itemsize:
        turned = np.ascontiguousarray(turned)
    return Inputs(turned, x.ndim, batch_first, lengths)


def _time_first(array: Array, dims: int, batch_first: bool) -> Array:
    """[time, batch, ...] of what is laid out as an input of ``dims`` axes."""
    return array[:, None] if dims == 2 else array.swapaxes(0, 1) if batch_first else array


def _plain(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """A further input, which may be bool, as an array of the layer's dtype."""
    kind = str(getattr(value, "dtype", "")).removeprefix("torch.")
    return plain(name, np.asarray(value).astype(dtype) if kind == "bool" else value, dtype)


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


def start(source: TracedStack, state: Any, inputs: Inputs) -> list[tuple[Array, ...]]:
    """The initial states of each row of h_n, each [batch, size]; None is zeros. InputError."""
    import torch

    from grus.layers.states import initial

    cell, rows = source.cell, source.stack.rows
    if state is not None:
        several = state if isinstance(state, (tuple, list)) else [state]
        arrays = [plain("state", value, source.dtype) for value in several]
        # Copied: torch warns of memory that may not be written to.
        state = tuple(torch.from_numpy(array.copy()) for array in arrays)
    like = torch.empty((0, inputs.x.shape[1], 0), dtype=getattr(torch, source.dtype.name))
    sizes = [source.sizes[cell.shapes.states[s]] for s in cell.states]
    states = initial(cell.states, sizes, len(rows), like, state, inputs.dims)
    return [tuple(np.ascontiguousarray(s.numpy()) for s in row) for row in states]


def both_ways(inputs: Inputs, resets: Any, reset_to: ResetTo) -> Directions:
    """The steps forward, and backward in time. Raises InputError."""
    import torch

    from grus.layers.inputs import axes, directions

    like = torch.empty((*inputs.x.shape[:2], 0))
    stand = axes(inputs.dims, inputs.batch_first)
    return directions(like, inputs.lengths, resets, reset_to, stand)


def trace(
    layer: nn.Module,
    x: Any,
    state: Any = None,
    *,
    values: Sequence[str] | None = None,
    layers: Chosen = None,
    directions: Chosen = None,
    steps: Chosen = None,
    units: Chosen = None,
    lengths: Any = None,
    resets: Any = None,
    reset_to: ResetTo = "zero",
    tokens: Sequence[str] | None = None,
    **further: Any,
) -> Trace:
    """Run ``layer`` over ``x`` and record what its cell computed at every step.

    ``layer`` is any layer of grus, or torch's ``nn.GRU``, ``nn.LSTM`` or ``nn.RNN``, float32 or
    float64 on the CPU. It is read, never changed, and runs as in ``eval()``: no dropout, the means
    of random masks. ``x``, ``state``, ``lengths``, ``resets`` and ``reset_to`` are what the layer's
    own call takes (``x`` a tensor or array [time, batch, input], batch first where the layer is,
    [time, input], or a PackedSequence, whose rows come in the caller's order), and so are the
    further inputs of a cell that reads some, by their names.

    What is recorded is asked for: ``values`` by the names of the cell's equations ("z", "n"; "h",
    or "h_next", is the state after a step), by default all gates, candidates and states;
    ``layers``, ``directions`` (0 forward, 1 backward in time), ``steps`` and ``units`` each as a
    number, a list, a slice or the text "a:b". ``units`` are those of the hidden axis; a value along
    another axis (a projected state) is recorded whole. ``tokens`` labels the steps of ``x``, one
    each; a text gives its characters.

    The kernels write the values themselves, window by window, in one forward run; no value depends
    on how it is cut. Memory is that of what is asked for, and about 8 MiB: in a stack of one
    direction no layer's output is kept whole. With two directions the layer above needs both from
    its first step on, so one layer's output is kept for the next, as the layer's own call keeps it.

    The output of a grus layer is recorded bit for bit as its own call computes it on the kernels.
    That of torch's layers is the grus kernels' too: it agrees with torch's own within rounding.

    Raises InputError naming the argument that cannot be, or saying what the kernels cannot run.
    """
    with needed_for("grus.trace"):
        chain = read(layer)
    return follow(
        chain,
        x,
        state,
        Selection(values, layers, directions, steps, units),
        lengths=lengths,
        resets=resets,
        reset_to=reset_to,
        tokens=tokens,
        further=further,
    )


def follow(
    source: TracedStack,
    x: Any,
    state: Any,
    asked: Selection,
    *,
    lengths: Any = None,
    resets: Any = None,
    reset_to: ResetTo = "zero",
    tokens: Sequence[str] | None = None,
    further: Mapping[str, Any] = {},
) -> Trace:
    """The trace of layers that `read` has read."""
    if backend() != "kernels":
        raise InputError("the kernels write a trace, and here they are off (GRUS_BACKEND)")
    cell, stack = source.cell, source.stack
    inputs = sequence(source, x, lengths, resets, further)
    begin, how = start(source, state, inputs), both_ways(inputs, resets, reset_to)
    time, batch = inputs.x.shape[:2]
    request = asked.request(cell, (stack.layers, stack.directions, time, source.sizes["hidden"]))
    labels = _labels(tokens, time, request.steps)
    values = record(stack, inputs.x, begin, how, request)
    counted = how[0].lengths
    return Trace(
        cell,
        {state_name(cell, name): array for name, array in values.items()},
        _starts(source, begin, request),
        request.layers,
        request.directions,
        request.steps,
        request.units,
        np.full(batch, time) if counted is None else counted,
        labels,
    )


def _starts(
    source: TracedStack, begin: list[tuple[Array, ...]], request: Recording
) -> dict[str, Array]:
    """The recorded part of each initial state, [layer, direction, batch, unit]."""
    cell, starts = source.cell, {}
    for at, state in enumerate(cell.states):
        each = np.stack([row[at] for row in begin])
        each = each.reshape(source.stack.layers, source.stack.directions, *each.shape[1:])
        each = each[request.layers][:, request.directions]
        starts[state] = each[..., request.units] if cell.shapes.states[state] == "hidden" else each
    return starts


def _labels(tokens: Sequence[str] | None, time: int, steps: Array) -> tuple[str, ...] | None:
    """The labels of the recorded steps."""
    if tokens is None:
        return None
    labels = list(tokens)
    if len(labels) != time:
        raise InputError(f"tokens must be {time}, one for each step of x, got {len(labels)}")
    if not all(isinstance(token, str) for token in labels):
        raise InputError("tokens must be texts, one for each step of x")
    return tuple(labels[step] for step in steps)
