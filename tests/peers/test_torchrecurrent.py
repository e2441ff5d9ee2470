"""Published cells give the numbers that torchrecurrent's cells of the same name give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.reference import run
from grus.zoo import PUBLISHED
from torchrecurrent_cells import THEIRS, families

Array = Any
TIME, BATCH, INPUT, HIDDEN = 4, 3, 5, 6


def sequence(layer: Any, states: list[Any], x: Any) -> Array:
    """Their outputs, a step at a time; a cell gives its states, and some an output before them."""
    import torch

    outputs = []
    for step in x:
        given = layer(step, tuple(states) if len(states) > 1 else states[0])
        flat = [given] if isinstance(given, torch.Tensor) else [*given]
        flat = [*flat[:-1], *flat[-1]] if isinstance(flat[-1], tuple) else flat
        states = flat[-len(states) :]
        outputs.append(flat[0])
    return torch.stack(outputs).detach().numpy()


def layer_of(name: str) -> Any:
    """Their cell in float64, its vectors and matrices drawn; single numbers are the paper's."""
    import torch

    theirs = pytest.importorskip("torchrecurrent")
    kind, settings, _ = THEIRS[name]
    inputs = HIDDEN if PUBLISHED[name].cell.shapes.equal else INPUT
    layer = getattr(theirs, kind)(inputs, HIDDEN, dtype=torch.float64, **settings)
    torch.manual_seed(0)
    for tensor in layer.parameters():
        if tensor.numel() > 1:
            torch.nn.init.uniform_(tensor, -0.7, 0.7)
    return layer


@pytest.mark.parametrize("name", THEIRS)
def test_a_published_cell_gives_the_same_numbers(name: str) -> None:
    import torch

    layer, cell = layer_of(name), PUBLISHED[name].cell
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TIME, BATCH, HIDDEN if cell.shapes.equal else INPUT))
    starts = tuple(rng.uniform(-0.9, 0.9, (BATCH, HIDDEN)) for _ in cell.states)
    theirs = [torch.from_numpy(start) for start in starts]
    if name == "janet":  # there the state is carried twice
        theirs *= 2
    want = sequence(layer, theirs, torch.from_numpy(x))
    result = run(cell, families(name, layer), x, starts if len(starts) > 1 else starts[0])
    np.testing.assert_allclose(result.output, want, rtol=1e-12, atol=1e-13)
