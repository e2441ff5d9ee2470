"""Measures say what is true of traces whose numbers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cells import ALL_CELLS
from grus.equations import CELLS, Cell, cell
from grus.equations.flat import gates
from grus.equations.text import show
from grus.errors import InputError
from grus.traces import Trace
from grus.traces.measures import HEAD, measures
from grus.traces.parts import keeps, resets

STEPS, BATCH = 100, 2


def made(given: Cell, lengths: tuple[int, int] = (STEPS, STEPS), **values: object) -> Trace:
    """A trace of one layer whose values are given per unit, or [time, unit]."""
    units = max(np.shape(v)[-1] for v in values.values())
    arrays = {}
    for name, value in values.items():
        array = np.broadcast_to(np.asarray(value, float), (STEPS, units))
        array = np.repeat(array[:, None], BATCH, axis=1).copy()
        for row, length in enumerate(lengths):
            array[length:, row] = np.nan
        arrays[name] = array[None, None]
    start = {s: np.zeros((1, 1, BATCH, units)) for s in given.states}
    one = np.zeros(1, int)
    return Trace(
        given, arrays, start, one, one, np.arange(STEPS), np.arange(units), np.array(lengths)
    )


PARTS = [
    ("gru", ("r", "z"), ("r",), {"h": "z"}),
    ("gru_admit", ("r", "z"), ("r",), {"h": "1 - z"}),
    ("gru_reset_before", ("r", "z"), ("r",), {"h": "z"}),
    ("gru_reset_before_admit", ("r", "z"), ("r",), {"h": "1 - z"}),
    ("lstm", ("i", "f", "o"), (), {"c": "f"}),
    ("lstm_projected", ("i", "f", "o"), (), {"c": "f"}),
    ("peephole_lstm", ("i", "f", "o"), (), {"c": "f"}),
    ("rnn", (), (), {}),
    ("mgu", ("f",), ("f",), {"h": "1 - f"}),
    ("layer_norm_gru", ("r", "z"), ("r",), {"h": "z"}),
    ("sru", ("f", "r"), (), {"c": "f"}),
    ("clipped_gru", ("r", "z"), ("r",), {"h": "z"}),
    ("odd", (), (), {}),
]


@pytest.mark.parametrize(("name", "open_", "reset", "kept"), PARTS, ids=[p[0] for p in PARTS])
def test_gates_resets_and_the_factor_of_the_state_are_read_off_the_equations(
    name: str, open_: tuple[str, ...], reset: tuple[str, ...], kept: dict[str, str]
) -> None:
    given = ALL_CELLS[name]
    assert gates(given) == open_
    assert resets(given) == reset
    assert {state: show(factor) for state, factor in keeps(given).items()} == kept


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("z = sigmoid(W.z @ x)\nh_next = h - z * (h - tanh(W.n @ x))", "1 - z"),
        ("z = sigmoid(W.z @ x)\nq = z * h\nh_next = q / 2 + W.n @ x", "z / 2"),
        ("h_next = -(0.5 * h) + W.n @ x", "-0.5"),
        ("h_next = step.k(0.9) * h + (1 - step.k(0.9)) * tanh(W.n @ x)", "0.9"),
        ("h_next = h * h + W.n @ x", None),
        ("h_next = tanh(h) + W.n @ x", None),
        ("h_next = p.a * h + W.n @ x", None),
    ],
)
def test_the_factor_is_followed_through_sums_products_and_names(
    text: str, factor: str | None
) -> None:
    found = keeps(Cell.parse(text))
    assert {s: show(f) for s, f in found.items()} == ({} if factor is None else {"h": factor})


def test_a_half_life_is_that_of_what_is_kept() -> None:
    keep = np.array([0.5, 0.5**0.1, 0.0, 1.0])
    h = np.sin(np.arange(STEPS))[:, None] * np.ones(4)
    found = measures(made(CELLS["gru"], r=np.full(4, 0.5), z=keep, n=np.zeros(4), h=h))
    # z = 2^(-1/10) keeps half after ten steps; a z of 0 nothing, a z of 1 all.
    assert found.half_life["h"][0, 0] == pytest.approx([1, 10, 0, np.inf])
    turned = measures(made(CELLS["gru_admit"], r=keep, z=1 - keep, n=keep, h=h))
    assert turned.half_life["h"][0, 0] == pytest.approx([1, 10, 0, np.inf])
    assert found.json()["half_life"]["h"][0][0][3] is None
    json.dumps(found.json(), allow_nan=False)
    held = measures(made(cell("gru[z=0.5]"), r=keep, n=keep, h=h))
    assert held.half_life["h"][0, 0] == pytest.approx([1, 1, 1, 1])
    varied = np.where(np.arange(STEPS) % 2, 0.25, 1.0)[:, None]  # half a step, on average of logs
    mixed = measures(made(CELLS["gru"], r=varied, z=varied, n=varied, h=varied))
    assert mixed.half_life["h"][0, 0] == pytest.approx([1])


def test_saturation_and_resets_are_shares_of_the_time_that_a_row_has() -> None:
    ramp = np.linspace(0, 0.99, STEPS)[:, None]
    h = np.sin(np.arange(STEPS))[:, None]
    found = measures(made(CELLS["gru"], (STEPS, 50), r=ramp, z=ramp, n=h, h=h))
    # 0, 0.01, ..., 0.99 and, in the second row, the first half of them: 150 steps, ten of each
    # row below 0.1 and nine of the first above 0.9.
    assert found.left["z"][0, 0, 0] == pytest.approx(20 / 150)
    assert found.right["z"][0, 0, 0] == pytest.approx(9 / 150)
    assert found.mean["r"][0, 0, 0] == pytest.approx((49.5 + 12.25) / 150)
    assert found.reset["r"] == pytest.approx(1 - found.mean["r"])


def test_a_unit_that_stands_still_after_its_start_is_dead_and_a_slow_one_is_not() -> None:
    time = np.arange(STEPS)
    still = np.where(time < 5, 0.0, 0.7)
    units = np.stack([still, 0.003 * np.sin(time), 0.2 * time / STEPS, np.sin(time)], axis=1)
    half = np.full(4, 0.5)
    found = measures(made(CELLS["gru"], (STEPS, 60), r=half, z=half, n=half, h=units))
    assert found.dead["h"][0, 0].tolist() == [True, True, False, False]
    assert found.norm["h"][0, 0] == pytest.approx(np.linalg.norm(units, axis=1))


def test_the_table_has_a_line_for_each_gate_and_state() -> None:
    half, h = np.full(3, 0.5), np.sin(np.arange(STEPS))[:, None] * np.ones(3)
    found = measures(made(CELLS["lstm"], i=half, f=half, g=half, o=half, c=h, h=h))
    rows = found.table()
    assert [row[1] for row in rows] == ["i", "f", "o", "h", "c"]
    assert {len(row) for row in rows} == {len(HEAD)}
    assert rows[-1][6:8] == ("1", "0 of 3")
    assert list(found.half_lives()) == ["layer 0"]


def test_what_is_missing_is_said() -> None:
    half = np.full(2, 0.5)
    with pytest.raises(InputError, match="'z' was not recorded; there are r, h"):
        measures(made(CELLS["gru"], r=half, h=half))
    with pytest.raises(InputError, match="no step to measure"):
        measures(made(CELLS["rnn"], (0, 0), h=half))
    with pytest.raises(InputError, match="no unit to measure"):
        measures(made(CELLS["rnn"], h=np.zeros(0)))


def test_a_unit_of_which_nothing_is_known_is_not_dead() -> None:
    units = np.where([True, False], np.nan, np.zeros((STEPS, 2)))
    found = measures(made(CELLS["rnn"], h=units))
    assert found.dead["h"][0, 0].tolist() == [False, True]


@pytest.mark.torch
def test_a_run_is_measured_and_its_gradient_is_autograds(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from grus.models.checkpoint import load
    from grus.traces.runs import flow_run, open_run, trace_text
    from small_run import finish, start
    from unrolled import unrolled

    finish(start(tmp_path, cell="lstm", layers=2, dtype="float64"))
    text = "the quick brown fox jumps over the lazy dog"
    found = measures(trace_text(tmp_path / "run", text))
    assert found.left["f"].shape == (2, 1, 12)
    assert np.all(found.left["f"] + found.right["f"] <= 1)

    lags, rows = 12, 3
    flows = flow_run(tmp_path / "run", text, lags=lags, rows=rows)
    assert [flow.name for flow in flows] == ["lstm layer 0", "lstm layer 1"]
    model = load(tmp_path / "run" / "best.safetensors").model()
    reading = open_run(tmp_path / "run", text)
    ids = torch.from_numpy(reading.ids)
    places = np.unique(np.linspace(lags, len(ids) - 2, rows).round().astype(int))
    zeros = [(np.zeros((1, 12)), np.zeros((1, 12)))] * 2
    for row, place in enumerate(places):
        x = reading.x[: place + 1].astype(np.float64)
        output, kept = unrolled(cell("lstm"), list(reading.source.stack.rows), x, zeros)
        scores = model.linear(output)
        loss = torch.nn.functional.cross_entropy(scores, ids[place + 1][None])
        for k in range(2):
            wanted = [
                torch.autograd.grad(loss, kept[k][place - lag][0], retain_graph=True)[0]
                for lag in range(lags + 1)
            ]
            norms = np.array([float(g.norm()) for g in wanted])
            # What the h of layer k hands on; two ways of adding up some thousand roundings.
            assert np.abs(flows[k].by_state["h"][:, row] - norms).max() < 1e-12 * norms.max()
    shut = measures(trace_text(tmp_path / "run", text, held={"f": 0}))
    assert shut.half_life == {}
    with pytest.raises(InputError, match="60 lags need a text of at least 62 symbols, got 43"):
        flow_run(tmp_path / "run", text, lags=60)
