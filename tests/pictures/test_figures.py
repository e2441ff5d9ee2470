"""Half-lives, gradient flow, learning curves, and the files they are saved in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from grus import InputError
from grus.pictures import (
    gradient_flow,
    half_lives,
    learning_curves,
    saturation,
    save,
    state_norms,
)

STEPS = [10, 20, 30]


def flow(norms: Any) -> Any:
    return SimpleNamespace(lags=np.arange(len(norms)), norms=np.asarray(norms, np.float64))


def key(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_curves_show_the_median_and_reach_from_lowest_to_highest() -> None:
    seeds = [(STEPS, [3, 2, 1]), (STEPS, [5, 4, 3]), (STEPS, [9, 9, 9])]
    ax = learning_curves({"gru": seeds, "rnn": seeds[:1]}, y="loss, nats")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [5, 4, 3])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [3, 2, 1])
    (band,) = ax.collections
    corners = {tuple(c) for c in band.get_paths()[0].vertices.tolist()}
    assert corners >= {(10, 3), (20, 2), (30, 1), (10, 9), (30, 9)}
    assert key(ax) == ["gru (3 seeds)", "rnn"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss, nats")


def test_seeds_measured_at_other_steps_are_read_between_theirs() -> None:
    ax = learning_curves({"gru": [([0, 10, 20], [4, 2, 0]), ([5, 15], [1, 1])]})
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [5, 10, 15])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2, 1.5, 1])


def test_a_loss_that_is_not_finite_is_a_gap() -> None:
    ax = learning_curves({"gru": [(STEPS, [3, np.inf, 1])]})
    assert np.isnan(np.asarray(ax.lines[0].get_ydata())).tolist() == [False, True, False]


def test_flow_is_a_share_of_lag_0_and_marks_where_it_vanishes_and_explodes() -> None:
    lags = np.arange(50)
    ax = gradient_flow(
        {"rnn": flow(5 * 0.5**lags), "big": flow(2.0**lags), "gru": flow(1 / (1 + lags))}
    )
    np.testing.assert_array_equal(ax.lines[0].get_ydata()[:3], [1, 0.5, 0.25])
    assert ax.get_yscale() == "log"
    # 2^-10 is the first below a thousandth, 2^10 the first above a thousand.
    assert key(ax) == ["rnn\nvanishes at lag 10", "big\nexplodes at lag 10", "gru"]
    crosses = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "x"]
    assert crosses == [[10], [10], []]
    said = [text.get_text() for text in ax.texts]
    assert said == ["vanishing: below 1/1000", "exploding: above 1000"]


def test_flow_is_drawn_as_far_as_it_falls() -> None:
    lags = np.arange(300)
    ax = gradient_flow({"rnn": flow(0.2**lags), "big": flow(10.0**lags)})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.2**lags, rtol=1e-12)
    np.testing.assert_allclose(ax.lines[2].get_ydata(), 10.0**lags, rtol=1e-12)
    ends = gradient_flow({"a": flow([1, 1e-308, 1e-320]), "b": flow([1, 1e307, 1e308])})
    assert ends.get_ylim() == (1e-300, 1e300)
    ends.figure.canvas.draw()


def test_flow_that_is_zero_or_overflows_is_drawn_at_the_ends() -> None:
    ax = gradient_flow({"a": flow([1, 0, 0]), "b": flow([1, np.inf, np.nan])})
    low, high = ax.get_ylim()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1, low, low])
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), [1, high, high])
    assert key(ax) == ["a\nvanishes at lag 1", "b\nexplodes at lag 1"]


def test_a_curve_with_nothing_at_the_first_lag_is_only_named() -> None:
    ax = gradient_flow({"a": flow([0, 0, 0]), "b": flow([1, 0.5, 0.25])})
    assert key(ax) == ["b", "a\nnothing at lag 0"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1, 0.5, 0.25])
    assert [len(line.get_xdata()) for line in ax.lines[1:3]] == [0, 0]
    assert ax.get_xlim()[0] == 0


def test_half_lives_are_counted_on_a_scale_of_doublings() -> None:
    ax = half_lives({"layer 0": [1.1, 1.2, 2.5, 7.0, np.nan]})
    outline = ax.patches[-1]
    counts, edges, _ = outline.get_data()
    assert counts.sum() == 4
    np.testing.assert_allclose(edges[::2], [1, 2, 4, 8])
    assert counts.tolist() == [2, 0, 1, 0, 0, 1]
    assert key(ax) == ["layer 0: 4 units, median 1.85 steps\n1 unknown"]


def test_endless_and_very_short_half_lives_stand_at_the_ends() -> None:
    ax = half_lives({"layer 0": [0, 1, np.inf, np.inf]})
    counts, _, _ = ax.patches[-1].get_data()
    assert (counts[0], counts[-1], counts.sum()) == (1, 2, 4)
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert labels[0].startswith("≤ ")
    assert labels[-1] == "∞"
    assert half_lives({"layer 0": [np.inf]}).patches


def gates(**shares: tuple[list[float], list[float]]) -> Any:
    """Measures of which a figure reads the saturation alone: (left, right) of each gate."""
    found = {f"layer 0 {name}": tuple(map(np.array, both)) for name, both in shares.items()}
    return SimpleNamespace(saturation=lambda: found, cell=SimpleNamespace(name="made"))


def test_a_gate_open_all_the_time_stands_at_the_right_a_shut_one_at_the_top() -> None:
    ax = saturation(gates(r=([1.0, 0.0], [0.0, 1.0]), z=([0.25], [0.5])))
    r, z = ax.collections
    assert r.get_offsets().tolist() == [[0, 1], [1, 0]]
    assert z.get_offsets().tolist() == [[0.5, 0.25]]
    assert key(ax) == ["layer 0 r", "layer 0 z"]
    assert ax.get_xlabel() == "share of the time open (above 0.9)"
    low, high = ax.get_xlim()
    assert low < 0
    assert high > 1


def norms(**given: tuple[list[float], int, int]) -> Any:
    """Measures of which a figure reads the norms alone: (norm, dead, units) of each layer."""
    found = {label: (np.array(norm), dead, units) for label, (norm, dead, units) in given.items()}
    cell = SimpleNamespace(name="made")
    return SimpleNamespace(norms=lambda: found, steps=np.array([4, 5, 6]), cell=cell)


def test_norms_stand_over_the_steps_that_were_recorded() -> None:
    ax = state_norms(norms(one=([1.0, 2.0, 3.0], 0, 8), two=([0.5, 0.0, 0.0], 7, 8)))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [4, 5, 6])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0.5, 0, 0])
    assert key(ax) == ["one: 0 of 8 units dead", "two: 7 of 8 units dead"]
    assert ax.get_ylim()[0] == 0


BAD: dict[str, tuple[Any, str]] = {
    "no curves": (lambda: learning_curves({}), "there are no learning curves"),
    "no seeds": (lambda: learning_curves({"a": []}), "a: there is no seed"),
    "unequal": (lambda: learning_curves({"a": [([1, 2], [1])]}), "two lists of one length"),
    "back": (lambda: learning_curves({"a": [([2, 1], [1, 1])]}), "steps must go up"),
    "apart": (
        lambda: learning_curves({"a": [([1, 2], [1, 1]), ([5, 6], [1, 1])]}),
        "no steps in common",
    ),
    "no flow": (lambda: gradient_flow({}), "there is no gradient flow"),
    "no norm": (lambda: gradient_flow({"a": flow([0, 1])}), "must be positive, got 0.0"),
    "a burst": (lambda: gradient_flow({"a": flow([np.inf, 1])}), "must be positive, got inf"),
    "no gates": (lambda: saturation(gates()), "cell made has no gates"),
    "no norms": (lambda: state_norms(norms()), "no state of the cell made was recorded"),
    "no lives": (lambda: half_lives({"a": [np.nan]}), "there are no half-lives"),
    "negative": (lambda: half_lives({"a": [-1]}), "cannot be negative, got -1"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_cannot_be_drawn_is_said(name: str) -> None:
    draw, said = BAD[name]
    with pytest.raises(InputError, match=said):
        draw()


def figures() -> dict[str, Any]:
    return {
        "curves": learning_curves({"gru": [(STEPS, [3, 2, 1])]}, ax=Figure().subplots()),
        "flow": gradient_flow({"gru": flow([1.0, 0.5])}),
        "lives": half_lives({"layer 0": [1.0, 3.0]}),
        "gates": saturation(gates(z=([0.25], [0.5]))),
        "norms": state_norms(norms(one=([1.0, 2.0, 3.0], 0, 8))),
    }


@pytest.mark.parametrize("form", ["svg", "png"])
@pytest.mark.parametrize("name", ["curves", "flow", "lives", "gates", "norms"])
def test_a_figure_is_saved_the_same_every_time(name: str, form: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"a.{form}", tmp_path / f"b.{form}"
    save(figures()[name], first)
    save(figures()[name].figure, second)
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert content.startswith(b"\x89PNG" if form == "png" else b"<?xml")


def test_saving_says_what_it_cannot(tmp_path: Path) -> None:
    ax = figures()["flow"]
    with pytest.raises(InputError, match=r"must be a file .svg, .png"):
        save(ax, tmp_path / "a.jpg")
    with pytest.raises(InputError, match="in a folder that exists"):
        save(ax, tmp_path / "none" / "a.svg")
    with pytest.raises(InputError, match="got axes of 2"):
        save([ax, figures()["flow"]], tmp_path / "a.svg")


@pytest.mark.parametrize("name", ["curves", "flow", "lives", "gates", "norms"])
def test_nothing_is_smaller_than_nine_points_and_nothing_overlaps(name: str) -> None:
    ax = figures()[name]
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_legend().get_texts(), *ax.texts]
    texts += [t for t in ax.get_xticklabels() if t.get_text()]
    boxes = {t.get_text(): t.get_window_extent(renderer) for t in texts if t.get_text()}
    assert min(t.get_fontsize() for t in texts) >= 9
    names = list(boxes)
    clashes = [
        (a, b) for k, a in enumerate(names) for b in names[k + 1 :] if boxes[a].overlaps(boxes[b])
    ]
    assert clashes == []
