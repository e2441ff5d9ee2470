"""torch's own recurrent functions over a layer's weights: what runs plain cells on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.equations import CELLS, Cell
from grus.kernels.steps import PLAIN, Steps

NATIVE: dict[Cell, Callable[..., Any]] = {
    CELLS["gru"]: torch._VF.gru,
    CELLS["lstm"]: torch._VF.lstm,
    CELLS["rnn"]: torch._VF.rnn_tanh,
    CELLS["rnn_relu"]: torch._VF.rnn_relu,
}


def has(cell: Cell, steps: Steps) -> bool:
    """True where torch has this cell, and steps through it in this way."""
    plain = steps.lengths is None and steps.resets is None and steps.seed is None
    return plain and cell in NATIVE


def sequence(
    record: TorchRecord,
    x: Tensor,
    start: tuple[Tensor, ...],
    named: dict[str, Tensor],
    steps: Steps = PLAIN,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `function.sequence`, by torch's function for the cell.

    Its derivatives are torch's: no second one on cuDNN, which torch says.
    """
    first = tuple(state.unsqueeze(0).contiguous() for state in start)
    weights = list(named.values())  # in torch's order: ih, hh, then the biases
    grads = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *first, *weights))
    output, *final = NATIVE[record.cell](
        x.flip(0) if steps.reverse else x,
        first if len(first) > 1 else first[0],
        weights,
        "bias_ih" in named,
        1,  # layers
        0.0,  # dropout
        grads,  # cuDNN keeps what backward needs only where it is told that it trains
        False,  # bidirectional
        False,  # batch first
    )
    return output.flip(0) if steps.reverse else output, tuple(s.squeeze(0) for s in final)
