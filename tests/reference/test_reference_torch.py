"""The reference against PyTorch's own layers in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.dialects import TorchRecord
from grus.equations import CELLS
from grus.reference import run

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

STEPS, BATCH, INPUT, HIDDEN = 7, 3, 4, 5
# Sums of I + H + 2 products of numbers below 1 in two orders: 11 * 2^-53 = 1.2e-15 a step.
# Gates and states are bounded by 1 and at these weights (|u| < 1/sqrt(5)) a step amplifies an
# earlier error by less than 2, so seven steps stay below 2^7 * 1.2e-15 = 1.6e-13.
NEAR = 1.6e-13

PEERS = {
    "gru": lambda: torch.nn.GRU(INPUT, HIDDEN, dtype=torch.float64),
    "lstm": lambda: torch.nn.LSTM(INPUT, HIDDEN, dtype=torch.float64),
    "rnn": lambda: torch.nn.RNN(INPUT, HIDDEN, dtype=torch.float64),
    "rnn_relu": lambda: torch.nn.RNN(INPUT, HIDDEN, nonlinearity="relu", dtype=torch.float64),
}


def weights_of(layer: Any, name: str) -> dict[str, np.ndarray]:
    """The layer's weights by family, both biases as they are: unequal and not zero."""
    tensors = {
        key.removesuffix("_l0"): value.detach().numpy() for key, value in layer.state_dict().items()
    }
    return TorchRecord(CELLS[name]).families(tensors, HIDDEN, np.zeros, np.concatenate)


@pytest.mark.parametrize("name", PEERS)
def test_a_sequence_agrees_with_torch(name: str) -> None:
    torch.manual_seed(1)
    layer = PEERS[name]()
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    start = tuple(torch.randn(1, BATCH, HIDDEN, dtype=torch.float64) for _ in CELLS[name].states)
    with torch.no_grad():
        output, final = layer(x, start if len(start) > 1 else start[0])
    final = final if isinstance(final, tuple) else (final,)
    done = run(CELLS[name], weights_of(layer, name), x.numpy(), tuple(h[0].numpy() for h in start))
    assert np.abs(done.output - output.numpy()).max() < NEAR
    for ours, theirs in zip(done.state, final, strict=True):
        assert np.abs(ours - theirs[0].numpy()).max() < NEAR


def test_no_initial_state_is_zeros_as_in_torch() -> None:
    torch.manual_seed(2)
    layer = PEERS["gru"]()
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    with torch.no_grad():
        output, _ = layer(x)
    done = run(CELLS["gru"], weights_of(layer, "gru"), x.numpy())
    assert np.abs(done.output - output.numpy()).max() < NEAR


@pytest.mark.parametrize("name", PEERS)
def test_lengths_and_reverse_agree_with_packed_sequences(name: str) -> None:
    torch.manual_seed(3)
    layer = type(PEERS[name]())(
        INPUT,
        HIDDEN,
        bidirectional=True,
        dtype=torch.float64,
        **({"nonlinearity": "relu"} if name == "rnn_relu" else {}),
    )
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    lengths = [4, 7, 1]  # in no order
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    with torch.no_grad():
        output, final = layer(packed)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(output, total_length=STEPS)
    final = final if isinstance(final, tuple) else (final,)
    for k, suffix in enumerate(("", "_reverse")):
        one = torch.nn.Module()
        for key in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            one.register_parameter(key, getattr(layer, key + suffix))
        done = run(
            CELLS[name],
            weights_of(one, name),
            x.numpy(),
            lengths=np.array(lengths),
            reverse=k == 1,
        )
        theirs = padded.numpy()[:, :, k * HIDDEN : (k + 1) * HIDDEN]
        assert np.abs(done.output - theirs).max() < NEAR
        for ours, last in zip(done.state, final, strict=True):
            assert np.abs(ours - last[k].numpy()).max() < NEAR
