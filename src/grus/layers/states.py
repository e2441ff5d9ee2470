"""Initial states in, final states out: torch's shapes, checked with words that name the axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from grus.errors import InputError, ShapeError, expect

State = Tensor | tuple[Tensor, ...]
"""One tensor for a cell with one state, else a tuple in the order of the cell's states."""

Row = tuple[Tensor, ...]
"""The states of one layer in one direction, each [batch, size]."""


def tensors(name: str, state: object) -> None:
    """Raise InputError unless ``state`` is a tensor, or a tuple or list of tensors."""
    whole = f"{name} must be a tensor or a tuple of tensors"
    expect(whole, state, (Tensor, tuple, list))
    for part in state if isinstance(state, (tuple, list)) else ():
        expect(f"{whole}; one of them is something else", part, Tensor)


def layer_of(name: str, layer: object) -> None:
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
