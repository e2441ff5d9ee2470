"""Layers upon layers, forward and backward in time, with dropout between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from grus.kernels import Steps
from grus.layers.states import Row
from grus.layers.stepping import Directions

RunRow = Callable[[int, Tensor, Row, Steps], tuple[Tensor, Row]]
"""One layer in one direction: (row of h_n, x [time, batch, input], its initial states, steps)."""
RunBoth = Callable[[int, Tensor, tuple[Row, Row]], tuple[Tensor, tuple[Row, Row]] | None]
"""Both directions of a layer, from the row of the first; None where `RunRow` must."""


def run(
    row: RunRow,
    x: Tensor,
    start: Sequence[Row],
    steps: Directions,
    *,
    bidirectional: bool,
    between: Callable[[Tensor], Tensor] | None = None,
    both: RunBoth | None = None,
) -> tuple[Tensor, list[Row]]:
    """The last layer's output [time, batch, directions * hidden] and each row's final states.

    ``between`` is applied to the output of every layer but the last (dropout). ``both`` may run the
    two directions of a layer at once.
    """
    final: list[Row] = []
    while len(final) < len(start):
        if final and between is not None:
            x = between(x)
        k = len(final)
        found = both(k, x, (start[k], start[k + 1])) if both is not None else None
        if found is not None:
            x, states = found
            final += states
            continue
        y, state = row(k, x, start[k], steps[0])
        final.append(state)
        if bidirectional:
            back, state = row(k + 1, x, start[k + 1], steps[1])
            final.append(state)
            y = torch.cat([y, back], dim=2)
        x = y
    return x, final
