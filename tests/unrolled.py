"""A stack of layers unrolled over torch operations, every state in autograd's graph."""

from __future__ import annotations

import numpy as np
import torch

from grus.equations import Cell
from grus.layers.composite import TORCH
from grus.reference import split
from grus.reference.evaluate import step


def unrolled(found: Cell, layers: list, x: np.ndarray, starts: list) -> tuple:
    """The last layer's last output, and the states of each layer [layer][step][state]."""
    below, states = [torch.from_numpy(row) for row in x], []
    for weights, start in zip(layers, starts, strict=True):
        single = split(found, {f: torch.from_numpy(w) for f, w in weights.items()})
        state = tuple(torch.from_numpy(s).requires_grad_() for s in start)
        seen, outputs = [], []
        for now in below:
            output, state = step(found, single, {"x": now}, state, TORCH)
            seen.append(state)
            outputs.append(output)
        below = outputs
        states.append(seen)
    return below[-1], states
