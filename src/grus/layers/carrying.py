"""From one chunk of a sequence to the next: truncated backpropagation, row by row."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from grus.errors import InputError, ShapeError
from grus.layers.recurrent import Recurrent
from grus.layers.states import State, layer_of, tensors


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
    tensors("the state", state)
    if start is not None:
        tensors("start", start)
    if not isinstance(state, Tensor):
        parts = start if start is not None else (None,) * len(state)
        return tuple(
            _carry(one, fresh, begin, detach) for one, begin in zip(state, parts, strict=True)
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
    """[batch] as what selects from [rows, batch, size] or [batch, size]."""
    try:
        found = torch.as_tensor(rows, device=state.device)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be bool, or 0 and 1, for each row of the batch") from None
    if state.dim() < 2:
        raise ShapeError(f"the state must be [rows, batch, size], got {tuple(state.shape)}")
    if found.shape != (state.shape[-2],):
        raise ShapeError(f"{name} must be [batch] = ({state.shape[-2]},), got {tuple(found.shape)}")
    if not ((found == 0) | (found == 1)).all():
        raise InputError(f"{name} must be bool, or 0 and 1")
    return (found == 1).unsqueeze(-1)


class InitialState(nn.Module):
    """A learnable initial state of a recurrent layer, torch's or grus': ``layer(x, h0(batch))``.

    One parameter for each state, [rows, 1, size], rows being layers * directions: ``h`` and, for
    an LSTM, ``c``. They begin at zero, which is what no initial state means.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        layer_of("InitialState", layer)
        like = next(layer.parameters())
        rows = cast("int", layer.num_layers) * (2 if layer.bidirectional else 1)
        for name, size in _state_sizes(layer).items():
            zeros = torch.zeros(rows, 1, size, dtype=like.dtype, device=like.device)
            self.register_parameter(name, nn.Parameter(zeros))

    def forward(self, batch: int) -> State:
        """The state for a batch of ``batch`` rows, [rows, batch, size], gradients into one row."""
        states = tuple(p.expand(-1, batch, -1) for p in self.parameters())
        return states if len(states) > 1 else states[0]


def _state_sizes(layer: nn.Module) -> dict[str, int]:
    hidden, projection = cast("int", layer.hidden_size), cast("int", layer.proj_size)
    if isinstance(layer, Recurrent):
        sizes = {"hidden": hidden, "projection": projection}
        return {name: sizes[axis] for name, axis in layer.cell.shapes.states.items()}
    found = {"h": projection or hidden}
    return found | ({"c": hidden} if isinstance(layer, nn.LSTM) else {})
