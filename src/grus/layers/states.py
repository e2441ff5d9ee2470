"""A layer's states in torch's shapes: initial ones in, final ones out; carried from chunk to chunk,
learned, taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from grus.equations import Cell
from grus.errors import InputError, ShapeError, expect

State = Tensor | tuple[Tensor, ...]
"""One tensor for a cell with one state, else a tuple in the order of the cell's states."""

Row = tuple[Tensor, ...]
"""The states of one layer in one direction, each [batch, size]."""


def check_tensors(name: str, state: object) -> None:
    """Raise InputError unless ``state`` is a tensor, or a tuple or list of tensors."""
    whole = f"{name} must be a tensor or a tuple of tensors"
    expect(whole, state, (Tensor, tuple, list))
    for part in state if isinstance(state, (tuple, list)) else ():
        expect(f"{whole}; one of them is something else", part, Tensor)


def check_layer(name: str, layer: object) -> None:
    """Raise InputError unless ``layer`` is a recurrent layer, torch's or grus'."""
    wanted = f"{name} takes a recurrent layer, as nn.GRU or grus.GRU"
    expect(wanted, layer, nn.Module)
    if not hasattr(layer, "bidirectional"):
        raise InputError(f"{wanted}, got {type(layer).__name__}")


def as_tuple(names: Sequence[str], hx: State) -> tuple[Tensor, ...]:
    """The states as a tuple, one for each of ``names``. Raises ShapeError for another number."""
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    if len(states) != len(names):
        several = f"a tuple of the {len(names)} states {', '.join(names)}"
        wanted = several if len(names) > 1 else f"one tensor, the state {names[0]}"
        raise ShapeError(f"hx must be {wanted}; it held {len(states)}")
    return states


def initial(
    names: Sequence[str], sizes: Sequence[int], rows: int, x: Tensor, hx: State | None, dims: int
) -> Sequence[Row]:
    """The initial states of each row of h_n: from ``hx``, or zeros like ``x`` [time, batch, input].

    ``sizes`` holds the size of each state; ``dims`` is 2 where the caller's input was unbatched,
    and ``hx`` then is [rows, size].
    """
    batch = x.shape[1]
    if hx is None:
        return (tuple([x.new_zeros((batch, size)) for size in sizes]),) * rows
    states = as_tuple(names, hx)
    if dims == 2:
        states = tuple(_batched(n, s) for n, s in zip(names, states, strict=True))
    for name, size, state in zip(names, sizes, states, strict=True):
        if state.shape != (rows, batch, size):
            axes = "[layers * directions, batch, size], batch_first or not"
            raise ShapeError(
                f"hx of state {name} must be {(rows, batch, size)}, got {tuple(state.shape)};"
                f" it is {axes}"
            )
    return list(zip(*(state.unbind(0) for state in states), strict=True))


def _batched(name: str, state: Tensor) -> Tensor:
    if state.dim() != 2:
        raise ShapeError(
            f"hx of state {name} must be 2-D for an unbatched 2-D input, got {state.dim()}-D"
        )
    return state.unsqueeze(1)


def final(rows: Sequence[Row], dims: int) -> State:
    """h_n (a tuple for several states) from the final states of each layer and direction."""
    if len(rows) == 1:
        if len(rows[0]) == 1 and dims == 3:
            return rows[0][0].unsqueeze(0)
        states = tuple(state.unsqueeze(0) for state in rows[0])
    else:
        states = tuple(torch.stack(each) for each in zip(*rows, strict=True))
    if dims == 2:
        states = tuple(state.squeeze(1) for state in states)
    return states[0] if len(states) == 1 else states


def carry(
    state: State | None,
    fresh: Any = None,
    *,
    start: State | None = None,
    detach: Any = True,
) -> State | None:
    """The final state of one chunk as the initial one of the next: truncated backpropagation.

    ``state`` is [rows, batch, size] as a layer returned it, or a tuple of those; None (before the
    first chunk) stays None. ``detach`` cuts the graph: True in every row, or bool [batch] in those
    rows alone. Rows in ``fresh`` (bool or 0 and 1, [batch]) begin a new sequence: their state is
    zero, or that of ``start`` (shaped as ``state``), chosen and never multiplied, so that NaN stays
    behind; no gradient crosses.

    Raises ShapeError for rows that are not [batch].
    """
    if state is None:
        return None
    check_tensors("the state", state)
    if start is not None:
        check_tensors("start", start)
    if not isinstance(state, Tensor):
        parts = start if start is not None else (None,) * len(state)
        return tuple(
            _carry(part, fresh, begin, detach) for part, begin in zip(state, parts, strict=True)
        )
    if start is not None and not isinstance(start, Tensor):
        raise ShapeError("start must be one tensor like the state")
    return _carry(state, fresh, start, detach)


def _carry(state: Tensor, fresh: Any, start: Tensor | None, detach: Any) -> Tensor:
    if detach is True:
        state = state.detach()
    elif detach is not False:
        state = torch.where(_rows("detach", detach, state), state.detach(), state)
    if fresh is None:
        return state
    begin = torch.zeros_like(state) if start is None else start
    return torch.where(_rows("fresh", fresh, state), begin, state)


def _rows(name: str, rows: Any, state: Tensor) -> Tensor:
    """[batch] as what selects from [rows, batch, ...] or [batch, size]."""
    try:
        chosen = torch.as_tensor(rows, device=state.device)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be bool, or 0 and 1, for each row of the batch") from None
    if state.dim() < 2:
        raise ShapeError(f"the state must be [rows, batch, size], got {tuple(state.shape)}")
    batch = state.shape[min(1, state.dim() - 2)]  # after the rows, before units and positions
    if chosen.shape != (batch,):
        raise ShapeError(f"{name} must be [batch] = ({batch},), got {tuple(chosen.shape)}")
    if not ((chosen == 0) | (chosen == 1)).all():
        raise InputError(f"{name} must be bool, or 0 and 1")
    return (chosen == 1).reshape(-1, *[1] * max(1, state.dim() - 2))


class InitialState(nn.Module):
    """A learnable initial state of a recurrent layer, torch's or grus': ``layer(x, h0(batch))``.

    One parameter for each state, [rows, 1, size], rows being layers * directions: ``h`` and, for
    an LSTM, ``c``. They begin at zero, which is what no initial state means.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        check_layer("InitialState", layer)
        like = next(layer.parameters())
        rows = cast("int", layer.num_layers) * (2 if layer.bidirectional else 1)
        for name, size in _state_sizes(layer).items():
            positions = cast("Any", layer).positions if hasattr(layer, "positions") else None
            shape = (
                (rows, 1, size) if positions is None else positions.shape(rows, 1, channels=size)
            )
            zeros = torch.zeros(shape, dtype=like.dtype, device=like.device)
            self.register_parameter(name, nn.Parameter(zeros))

    def forward(self, batch: int) -> State:
        """The state for a batch of ``batch`` rows, [rows, batch, size], gradients into one row."""
        states = tuple(p.expand(-1, batch, *p.shape[2:]) for p in self.parameters())
        return states if len(states) > 1 else states[0]


def _state_sizes(layer: nn.Module) -> dict[str, int]:
    cell = getattr(layer, "cell", None)
    hidden, projection = cast("int", layer.hidden_size), cast("int", layer.proj_size)
    if isinstance(cell, Cell):
        sizes = {"hidden": hidden, "projection": projection}
        return {name: sizes[axis] for name, axis in cell.shapes.states.items()}
    sizes = {"h": projection or hidden}
    return sizes | ({"c": hidden} if isinstance(layer, nn.LSTM) else {})


def last_state(layer: nn.Module, state: State) -> State:
    """The last layer's final state, [batch, size]; with two directions side by side, forward first.

    ``state`` is what ``layer`` (torch's or grus') returned, [layers * directions, batch, size];
    a tuple gives a tuple. This is each row's summary: forward at its last valid step, backward at
    its first one, which ``output[-1]`` is not.
    """
    check_layer("last_state", layer)
    check_tensors("the state", state)
    if not isinstance(state, Tensor):
        return tuple(_last(layer, each) for each in state)
    return _last(layer, state)


def _last(layer: nn.Module, state: Tensor) -> Tensor:
    return torch.cat(state[-2:].unbind(), _channels(layer)) if layer.bidirectional else state[-1]


def _channels(layer: nn.Module) -> int:
    """The axis of the units, which stands before a grid's."""
    positions = getattr(layer, "positions", None)
    return -1 if positions is None else int(positions.channels)


Result = tuple[Any, State]


def split_directions(layer: nn.Module, result: Result) -> tuple[Result, Result]:
    """``(output, state)`` of a bidirectional ``layer``, torch's or grus', for each direction.

    ``(y, h), (y_back, h_back) = split_directions(gru, gru(x))``: outputs [time, batch, size]
    (packed stays packed), states [layers, batch, size], all in time order. The backward state
    is ``y_back``'s first step, not its last. Raises InputError for a layer of one direction.
    """
    check_layer("split_directions", layer)
    if not layer.bidirectional:
        raise InputError("split_directions needs a bidirectional layer, this one has one direction")
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError("split_directions takes the (output, state) that the layer returned")
    output, state = result
    expect("the output must be a tensor or packed", output, (Tensor, PackedSequence))
    check_tensors("the state", state)
    sides = [(_output(output, k, _channels(layer)), _state(state, k)) for k in range(2)]
    return sides[0], sides[1]


def _output(output: Any, side: int, axis: int) -> Any:
    if isinstance(output, PackedSequence):
        return output._replace(data=_output(output.data, side, axis))
    return output.unflatten(axis, (2, -1)).select(axis - 1, side)


def _state(state: State, side: int) -> State:
    if isinstance(state, Tensor):
        return state[side::2]
    return tuple(each[side::2] for each in state)
