"""Gradient flow is what autograd's Jacobians say, for every cell and all of its states."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cells import ALL_CELLS, draw_states, draw_weights, sizes
from grus.equations import Cell, cell, held_at
from grus.errors import InputError
from grus.runtime import adjoints
from grus.traces.flow import HEAD, Flow, gradient_flow, table, through
from unrolled import unrolled

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
STEPS, BATCH = 6, 2
# Six steps of some forty roundings in sums of at most five, of numbers that may be a thousand times
# larger than what is left of them.
BOUND = 6 * 40 * 5 * 1000 * 2.0**-53
HELD = [held_at(ALL_CELLS["gru"], {"r": 1, "z": 0}), held_at(ALL_CELLS["gru"], {"z": 0.5})]
CELLS = [one for one in ALL_CELLS.values() if one.name != "zoneout"] + HELD


def jacobian(output: object, row: int, state: object) -> np.ndarray:
    """d(output)/d(state) of one row, one unit of the output after the other."""
    found = []
    for value in output[row]:  # type: ignore[index]
        (g,) = torch.autograd.grad(value, state, retain_graph=True, allow_unused=True)
        found.append(np.zeros(state.shape[1]) if g is None else g[row].numpy())  # type: ignore[attr-defined]
    return np.stack(found)


def check(found: Cell, count: int, wrong: float = 1.0) -> None:
    rng = np.random.default_rng(5)
    size = sizes(found, 4 if count > 1 else 3, 4)
    layers = [draw_weights(found, size, rng) for _ in range(count)]
    x = rng.normal(size=(STEPS, BATCH, size["input"]))
    starts = [draw_states(found, size, BATCH, rng) for _ in range(count)]
    output, states = unrolled(found, layers, x, starts)
    dy = rng.normal(size=tuple(output.shape))
    flows = through([found] * count, layers, x, starts, dy * wrong)
    for k in range(count):
        for at, name in enumerate(found.states):
            wanted = np.array([
                [
                    np.linalg.norm(dy[row] @ jacobian(output, row, states[k][STEPS - 1 - lag][at]))
                    for row in range(BATCH)
                ]
                for lag in range(STEPS)
            ])  # fmt: skip
            apart = np.abs(flows[k][name] - wanted).max()
            assert apart <= BOUND * max(1.0, wanted.max()), (found.name, name, apart)


@pytest.mark.parametrize("found", CELLS, ids=lambda c: c.name)
def test_the_norms_are_those_of_autograds_jacobians(found: Cell) -> None:
    check(found, 1)


@pytest.mark.parametrize("name", ["gru", "lstm", "rnn", "gru_reset_before"])
def test_through_a_stack_the_layers_above_count_too(name: str) -> None:
    check(cell(name), 2)


def test_a_gradient_that_is_a_millionth_too_large_is_seen() -> None:
    with pytest.raises(AssertionError):
        check(cell("gru"), 1, wrong=1 + 1e-6)


def test_the_gradient_of_the_input_is_the_kernels_own() -> None:
    found, rng = cell("lstm"), np.random.default_rng(2)
    size = sizes(found)
    weights, x = draw_weights(found, size, rng), rng.normal(size=(4, 2, 3))
    dy = rng.normal(size=(4, 2, 4))
    layer = __import__("grus").Recurrent("lstm", 3, 4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.from_numpy(weights["W"]))
        layer.weight_hh_l0.copy_(torch.from_numpy(weights["U"]))
        layer.bias_ih_l0.copy_(torch.from_numpy(weights["b"]))
        layer.bias_hh_l0.zero_()
    given = torch.from_numpy(x).requires_grad_()
    layer(given)[0].backward(torch.from_numpy(dy))
    _, dx = adjoints(found, weights, x, None, dy)
    assert np.abs(dx - given.grad.numpy()).max() < BOUND


def test_what_must_vanish_vanishes_and_what_must_explode_explodes() -> None:
    # h' = h / 2 and h' = 2 h: the norm is known to the last place.
    half = Cell.parse("h_next = 0.5 * h + 0 * (W.a @ x)", "half")
    flow = gradient_flow(half, lags=40, hidden=5)
    assert np.array_equal(flow.norms / flow.norms[0], 0.5 ** np.arange(41.0))
    assert flow.rate == pytest.approx(0.5, rel=1e-12)
    assert flow.verdict == "vanishing"
    twice = gradient_flow(Cell.parse("h_next = 2 * h + 0 * (W.a @ x)", "twice"), lags=40, hidden=5)
    assert (twice.verdict, twice.row()[2]) == ("exploding", "never")
    assert twice.rate == pytest.approx(2, rel=1e-12)
    steady = gradient_flow("gru[r=0,z=1]", lags=40, hidden=5)
    assert (steady.verdict, steady.rate) == ("steady", pytest.approx(1.0))
    nothing = gradient_flow("gru[z=0,n=0.5]", lags=4, hidden=5)
    assert (nothing.rate, nothing.verdict) == (0.0, "vanishing")


def test_norms_far_below_the_square_root_of_the_smallest_number_are_seen() -> None:
    flow = gradient_flow(Cell.parse("h_next = 0.001 * h + 0 * (W.a @ x)"), lags=100, hidden=3)
    assert flow.norms[100] == pytest.approx(1e-300, rel=1e-10)
    more = gradient_flow(Cell.parse("h_next = 1000 * h + 0 * (W.a @ x)"), lags=110, hidden=3)
    assert more.verdict == "exploding"
    assert json.dumps(more.json(), allow_nan=False)


def test_an_open_forget_gate_carries_further_and_large_weights_explode() -> None:
    plain, open_ = (gradient_flow("lstm", gate_bias=bias) for bias in ({}, {"f": 5.0}))
    assert plain.rate < 0.75
    assert 0.95 < open_.rate < 1.01
    kept = gradient_flow("gru", gate_bias={"z": 5.0})
    assert kept.rate > 0.95
    assert gradient_flow("rnn_relu", gain=4.0).verdict == "exploding"
    assert gradient_flow("rnn").verdict == "vanishing"


def test_layers_of_grus_and_of_torch_flow_alike() -> None:
    theirs = torch.nn.LSTM(3, 8, 2)
    ours = __import__("grus").LSTM(3, 8, 2)
    ours.load_state_dict(theirs.state_dict())
    one, other = (gradient_flow(layer, lags=20) for layer in (ours, theirs))
    assert np.array_equal(one.norms, other.norms)
    assert list(one.by_state) == ["h", "c"]
    assert one.rows.shape == (21, 16)
    first, *rest = table([one, other])
    assert len(first) == len(HEAD) == len(rest[0])
    assert "at lag 20" in first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lags": 0}, "lags, rows and hidden must be at least 1"),
        ({"x": np.zeros((5, 1, 64)), "lags": 5}, "more than 5 steps"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"gain": float("nan")}, "gain must be a finite number, got nan"),
        ({"gate_bias": {"q": 1.0}}, "no bias of a gate 'q' to set to 1.0; gates with one: r, z, n"),
    ],
)
def test_what_cannot_be_is_said(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gradient_flow("gru", **change)
    with pytest.raises(InputError, match="one direction; the layer has two"):
        gradient_flow(torch.nn.GRU(2, 3, bidirectional=True))
    with pytest.raises(InputError, match="needs the masks"):
        gradient_flow(ALL_CELLS["zoneout"])


def test_a_flow_says_so_itself() -> None:
    flow = Flow("mine", cell("gru"), {"h": np.array([[2.0], [1.0], [0.5]])})
    assert flow.row() == ("mine", "x 0.5", "1 steps", "0.25", "steady")
    assert flow.json()["norms"] == [2.0, 1.0, 0.5]


@pytest.mark.parametrize("norms", [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
def test_where_nothing_is_at_lag_0_there_is_neither_a_rate_nor_a_share(norms: list[float]) -> None:
    flow = Flow("none", cell("gru"), {"h": np.array(norms)[:, None]})
    assert flow.row() == ("none", "-", "-", "-", "none")
    assert (flow.json()["rate"], flow.json()["share"]) == (None, None)


def test_a_rate_that_no_line_gives_is_not_a_number() -> None:
    flow = Flow("burst", cell("gru"), {"h": np.array([[1.0], [np.inf], [np.nan]])})
    assert flow.row() == ("burst", "-", "-", "-", "exploding")
    assert flow.json()["rate"] is None
