"""Gates over time: what is drawn is what was recorded, in an order that means something."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from grus import InputError
from grus.equations import CELLS
from grus.pictures import gate, gates, style
from grus.pictures.gates import LINES
from grus.pictures.view import memory_gate
from traces_by_hand import trace


def image(ax: Any) -> np.ndarray[Any, Any]:
    (found,) = ax.images
    return np.asarray(found.get_array())


def test_a_heat_map_holds_the_values_longest_memory_on_top() -> None:
    made = trace()
    z = made["z"][0, 0, :, 0].T
    drawn = gate(made, "z")
    np.testing.assert_array_equal(image(drawn), z[::-1])  # the mean of z rises with the unit
    assert [t.get_text() for t in drawn.get_yticklabels()] == ["4", "3", "2", "1", "0"]
    assert "longest memory on top" in drawn.figure.get_suptitle()


def test_a_gate_that_admits_sorts_the_other_way() -> None:
    made = trace(cell=CELLS["gru_admit"])
    np.testing.assert_array_equal(image(gate(made, "z")), made["z"][0, 0, :, 0].T)


def test_all_panels_have_the_units_in_one_order() -> None:
    made = trace()
    for panel, name in zip(gates(made, order="r"), made.names, strict=True):
        np.testing.assert_array_equal(image(panel), made[name][0, 0, :, 0].T[::-1])
    for panel, name in zip(gates(made, order=None), made.names, strict=True):
        np.testing.assert_array_equal(image(panel), made[name][0, 0, :, 0].T)


def test_layer_direction_row_and_units_are_picked_and_ends_cut() -> None:
    made = trace(steps=4, rows=2, layers=2, directions=2, lengths=[4, 3])
    drawn = gate(made, "h", layer=1, direction=1, batch=1, units=[4, 0, 2, 3, 1], order=None)
    expected = made["h"][1, 1, :3, 1].T[[4, 0, 2, 3, 1]]
    np.testing.assert_array_equal(image(drawn), expected)
    assert drawn.figure.get_suptitle() == "gru, layer 1, backward, row 1"


def test_few_units_are_lines() -> None:
    made = trace(units=LINES)
    drawn = gate(made, "r", order=None)
    assert not drawn.images
    lines = [np.asarray(line.get_ydata()) for line in drawn.lines]
    np.testing.assert_array_equal(lines, made["r"][0, 0, :, 0].T)
    legend = drawn.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [f"unit {k}" for k in range(LINES)]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("gru", ("z", True)),
        ("gru_reset_before_admit", ("z", False)),
        ("lstm", ("f", True)),
        ("rnn", None),
    ],
)
def test_the_gate_of_memory_is_read_off_the_equations(cell: str, expected: object) -> None:
    assert memory_gate(CELLS[cell]) == expected


def test_the_scale_says_what_the_update_gate_does() -> None:
    for cell, at_one in (("gru", "1 keeps"), ("gru_admit", "1 replaces")):
        drawn = gate(trace(cell=CELLS[cell]), "z")
        scale = drawn.figure.axes[-1]
        assert [t.get_text() for t in scale.get_yticklabels()][-1] == at_one


def test_a_gate_runs_from_0_to_1_and_a_state_as_far_as_it_goes() -> None:
    made = trace()
    big = trace(values={"h": 3 * made["h"] - 1, "r": made["r"], "z": made["z"]})
    assert gate(big, "r").images[0].get_clim() == (0, 1)
    highest = float(np.abs(big["h"]).max())
    assert gate(big, "h").images[0].get_clim() == (-highest, highest)
    assert gate(made, "h").images[0].get_clim() == (-1, 1)


def test_tokens_are_the_labels_of_steps_where_they_fit() -> None:
    made = trace(tokens=tuple("a b\n$\x07"))
    labels = [t.get_text() for t in gate(made, "z").get_xticklabels()]
    assert labels == ["a", "␣", "b", "↵", "$", "\\x07"]
    long = trace(steps=400, tokens=tuple("x" * 400))
    drawn = gate(long, "z")
    assert drawn.get_xlabel() == "step"
    assert "200" in [t.get_text() for t in drawn.get_xticklabels()]


def test_steps_are_numbered_as_in_the_sequence() -> None:
    drawn = gate(replace(trace(300), steps=np.arange(500, 800), lengths=np.array([900])), "z")
    labels = [t.get_text() for t in drawn.get_xticklabels()]
    assert dict(zip(labels, drawn.get_xticks(), strict=True))["600"] == 100


HOSTILE = ("$x$", "<b>", "中", "e\u0301", "\x1b[31m", "a" * 500)


def test_any_token_is_drawn_without_a_warning(tmp_path: Any) -> None:
    """Formulas are not set, characters without a glyph are spelt, long ones are cut."""
    style.save(gates(trace(tokens=HOSTILE)), tmp_path / "gates.svg")
    labels = [t.get_text() for t in gate(trace(tokens=HOSTILE), "z").get_xticklabels()]
    assert labels[:2] == ["$x$", "<b>"]
    assert labels[2:5] == ["U+4E2D", "eU+0301", "\\x1b[31m"]
    assert len(labels[5]) == 12


def test_it_draws_on_the_axes_it_is_given() -> None:
    figure = Figure()
    above, below = figure.subplots(2, 1)
    made = trace()
    assert gates(made, ["z", "h"], ax=[above, below]) == (above, below)
    assert gate(made, "z", ax=Figure().subplots()).images
    with pytest.raises(InputError, match="ax must be 2 axes, one for each value, got 1"):
        gates(made, ["z", "h"], ax=[above])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"names": "zr"}, "names must be a list"),
        ({"names": []}, "there is nothing to draw"),
        ({"names": ["n"]}, "'n' was not recorded; there are r, z, h"),
        ({"layer": 3}, "layer 3 of r was not recorded"),
        ({"batch": 1}, "batch 1 of r was not recorded"),
        ({"units": [0, 9]}, r"units \[9\] were not recorded"),
        ({"order": "size"}, "order must be 'memory', None or one of r, z, h, got 'size'"),
    ],
)
def test_what_cannot_be_drawn_is_said(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        gates(trace(), **asked)


def test_a_row_that_ended_before_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="row 0 ended before the recorded steps began"):
        gates(trace(lengths=[0]))


def test_pyplot_is_not_loaded_and_loading_pictures_loads_no_matplotlib() -> None:
    code = (
        "import sys; import grus.pictures; assert 'matplotlib' not in sys.modules\n"
        "from grus.pictures import learning_curves\n"
        "learning_curves({'a': [([1, 2], [3, 4])]})\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
