"""A layer that keeps little: the same results, the same gradients in another order of sums."""

from __future__ import annotations

import pytest
import torch

import grus
from grus.layers.recurrent import Recurrent

EPS = 2.0**-53
TIME, BATCH, SIZE = 70, 3, 6


def gradients(layer: Recurrent, x: torch.Tensor, **given: object) -> list[torch.Tensor]:
    torch.manual_seed(3)  # of the masks
    x = x.clone().requires_grad_()
    output, state = layer(x, **given)
    states = state if isinstance(state, tuple) else (state,)
    loss = sum((t * torch.cos(torch.arange(t.numel()).reshape(t.shape))).sum() for t in
               (output, *states))  # fmt: skip
    return [output, *states, *torch.autograd.grad(loss, [x, *layer.parameters()])]


@pytest.mark.parametrize("kind", ["plain", "lengths", "resets", "masks", "both directions"])
@pytest.mark.parametrize("make", [grus.GRU, grus.LSTM])
def test_keeping_little_changes_nothing_but_the_order_of_sums(make: type, kind: str) -> None:
    options: dict[str, object] = {"dtype": torch.float64, "num_layers": 2}
    given: dict[str, object] = {}
    if kind == "masks":
        options |= {"zoneout": 0.2, "recurrent_dropout": 0.3}
    if kind == "both directions":
        options["bidirectional"] = True
    if kind == "lengths":
        given["lengths"] = torch.tensor([0, TIME, 33])
    if kind == "resets":
        given["resets"] = torch.arange(TIME * BATCH).reshape(TIME, BATCH) % 9 == 0
    torch.manual_seed(0)
    layer = make(SIZE, SIZE, **options)
    less = make(SIZE, SIZE, recompute=True, **options)
    less.load_state_dict(layer.state_dict())
    x = torch.randn(TIME, BATCH, SIZE, dtype=torch.float64)
    for want, found in zip(gradients(layer, x, **given), gradients(less, x, **given), strict=True):
        # Sums of TIME * BATCH terms in another order, in two layers.
        bound = 2 * TIME * BATCH * EPS * max(1.0, want.abs().max().item())
        assert (want - found).abs().max() <= bound


def test_the_forward_bits_are_the_same() -> None:
    torch.manual_seed(0)
    layer = grus.GRU(4, 5)
    less = grus.GRU(4, 5, recompute=True)
    less.load_state_dict(layer.state_dict())
    x = torch.randn(50, 2, 4)
    assert torch.equal(layer(x)[0], less(x)[0])
    with torch.no_grad():
        assert torch.equal(layer(x)[0], less(x)[0])
