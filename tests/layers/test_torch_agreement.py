"""Layers against torch's own: parameters, outputs, states and all gradients.

In float64 to 1e-12 of each gradient's size. In float32 both are off by rounding: each of T steps,
forward and back, by a chain of I + H products and some 16 operations; differences shrink from step
to step at this initialisation, so 2 T such errors add up, per layer and on both sides.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

import grus  # noqa: E402

pytestmark = pytest.mark.torch
STEPS, BATCH, INPUT, HIDDEN = 11, 3, 7, 19
PEERS = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
    "rnn_relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}
OPTIONS = [
    {"num_layers": layers, "bias": bias, "batch_first": first}
    for layers, bias, first in product((1, 3), (True, False), (True, False))
]
TWO_WAYS = [o | {"bidirectional": True} for o in OPTIONS if o["bias"] or o["num_layers"] == 3]
UNIT = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}

every = pytest.mark.parametrize("name", PEERS)
options = pytest.mark.parametrize(
    "given", OPTIONS + TWO_WAYS, ids=lambda g: "-".join(f"{k}={v}" for k, v in g.items())
)
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def pair(name: str, given: dict[str, Any], dtype: Any = torch.float32) -> tuple[Any, nn.Module]:
    """torch's layer and ours, with torch's weights loaded into ours."""
    theirs = PEERS[name](INPUT, HIDDEN, dtype=dtype, **given)
    ours = grus.Recurrent(name, INPUT, HIDDEN, dtype=dtype, **given)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def data(name: str, given: dict[str, Any], dtype: Any) -> tuple[Tensor, Any]:
    torch.manual_seed(1)
    sizes = (BATCH, STEPS) if given["batch_first"] else (STEPS, BATCH)
    x = torch.randn(*sizes, INPUT, dtype=dtype, requires_grad=True)
    rows = given["num_layers"] * (2 if given.get("bidirectional") else 1)
    shape = (rows, BATCH, HIDDEN)
    states = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(2)]
    return x, tuple(states) if name == "lstm" else states[0]


def flat(states: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [states] if isinstance(states, Tensor) else list(states)


def outcome(layer: nn.Module, x: Tensor, hx: Any) -> dict[str, Tensor]:
    """Output, states, and the gradients of a random linear loss of all of them."""
    y, states = layer(x, hx)
    results = [y, *flat(states)]
    torch.manual_seed(2)
    loss = sum((r * torch.randn(r.shape, dtype=r.dtype)).sum() for r in results)
    leaves = {"x": x, **{f"hx {k}": h for k, h in enumerate(flat(hx))}}
    leaves |= dict(layer.named_parameters())
    grads = torch.autograd.grad(loss, list(leaves.values()))
    found = {f"result {k}": r.detach() for k, r in enumerate(results)}
    return found | {f"d {name}": g for name, g in zip(leaves, grads, strict=True)}


def agree(found: dict[str, Tensor], want: dict[str, Tensor], layers: int) -> None:
    assert found.keys() == want.keys()
    for name, expected in want.items():
        assert found[name].shape == expected.shape, name
        off = (found[name] - expected).norm()
        if expected.dtype == torch.float64:
            assert off <= 1e-12 * max(1.0, float(expected.norm())), name
        else:
            chain = (INPUT + HIDDEN + 16) * UNIT[expected.dtype]
            assert off <= 2 * layers * 2 * STEPS * chain * expected.norm(), name


@both
@options
@every
def test_outputs_and_all_gradients_are_torchs(name: str, given: dict[str, Any], dtype: Any) -> None:
    theirs, ours = pair(name, given, dtype)
    x, hx = data(name, given, dtype)
    assert ours.path(x) == "kernels"
    agree(outcome(ours, x, hx), outcome(theirs, x, hx), given["num_layers"])


@both
@every
def test_a_batch_large_enough_for_threads_agrees_too(name: str, dtype: Any) -> None:
    torch.set_num_threads(2)
    theirs = PEERS[name](INPUT, 130, dtype=dtype)
    ours = grus.Recurrent(name, INPUT, 130, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    for batch in (1, 5, 33):
        torch.manual_seed(batch)
        x = torch.randn(STEPS, batch, INPUT, dtype=dtype, requires_grad=True)
        states = [torch.randn(1, batch, 130, dtype=dtype, requires_grad=True) for _ in range(2)]
        hx: Any = tuple(states) if name == "lstm" else states[0]
        found, want = outcome(ours, x, hx), outcome(theirs, x, hx)
        for leaf, expected in want.items():
            off, size = (found[leaf] - expected).norm(), max(1.0, float(expected.norm()))
            chain = (INPUT + 130 + 16) * UNIT[dtype]
            assert off <= (1e-12 if dtype == torch.float64 else 4 * STEPS * chain) * size, leaf


@every
@pytest.mark.parametrize("given", OPTIONS[:4:3])
def test_without_hx_zeros_are_meant_as_in_torch(name: str, given: dict[str, Any]) -> None:
    theirs, ours = pair(name, given, torch.float64)
    x, _ = data(name, given, torch.float64)
    for one, other in zip(flat(ours(x)[1]), flat(theirs(x)[1]), strict=True):
        assert (one - other).norm() <= 1e-12


@options
@every
def test_weights_move_both_ways(name: str, given: dict[str, Any]) -> None:
    theirs, ours = pair(name, given)
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    back = PEERS[name](INPUT, HIDDEN, **given)
    back.load_state_dict(ours.state_dict())
    x, hx = data(name, given, torch.float32)
    assert torch.equal(back(x, hx)[0], theirs(x, hx)[0])


@options
@every
def test_one_seed_gives_both_the_same_weights(name: str, given: dict[str, Any]) -> None:
    torch.manual_seed(5)
    theirs = PEERS[name](INPUT, HIDDEN, **given)
    torch.manual_seed(5)
    ours = grus.Recurrent(name, INPUT, HIDDEN, **given)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_gru_is_that_with_the_cell_filled_in() -> None:
    torch.manual_seed(5)
    one = grus.GRU(INPUT, HIDDEN, num_layers=2, batch_first=True)
    torch.manual_seed(5)
    other = grus.Recurrent("gru", INPUT, HIDDEN, num_layers=2, batch_first=True)
    assert isinstance(one, grus.Recurrent)
    x = torch.randn(3, 4, INPUT)
    assert torch.equal(one(x)[0], other(x)[0])


def test_weights_of_another_shape_are_refused() -> None:
    theirs, ours = nn.GRU(INPUT, HIDDEN + 1), grus.GRU(INPUT, HIDDEN)
    with pytest.raises(RuntimeError, match="size mismatch for weight_ih_l0"):
        ours.load_state_dict(theirs.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        ours.load_state_dict(nn.GRU(INPUT, HIDDEN, bias=False).state_dict())
