"""`grus.hold`: gates held at a number; the cell that is left means what overwriting them means."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import grus
from cells import ALL_CELLS, draw_states, draw_weights, sizes
from grus.equations import (
    CELLS,
    Cell,
    CellError,
    cell,
    explain_name,
    held_at,
    hold_weights,
    separate,
)
from grus.equations.simplify import simplify
from grus.equations.text import read
from grus.reference import run
from held import overwritten

GIVEN = {"zoneout"}  # its masks come from outside
HELD = [
    pytest.param(given, name, value, id=f"{given.name}-{name}-{value:g}")
    for given in ALL_CELLS.values()
    if given.name not in GIVEN
    for name, _ in given.equations
    if not name.endswith("_next") and name != "y"
    for value in (0.0, 1.0, 0.5, -2.0)
]
DIVISORS = {("layer_norm_gru", "spread"), ("odd", "s")}


@pytest.mark.parametrize(("given", "name", "value"), HELD)
def test_a_held_cell_is_the_cell_with_the_value_overwritten(
    given: Cell, name: str, value: float
) -> None:
    if value == 0 and (given.name, name) in DIVISORS:
        with pytest.raises(CellError, match="/ 0 is no finite number"):
            held_at(given, {name: value})
        return
    rng = np.random.default_rng(3)
    size = sizes(given)
    weights = draw_weights(given, size, rng)
    x = rng.normal(size=(5, 3, size["input"]))
    start = draw_states(given, size, 3, rng)
    with np.errstate(all="ignore"):
        wanted, final = overwritten(given, weights, x, start, {name: value})
    held = held_at(given, {name: value})
    done = run(held, hold_weights(given, held, weights), x, start)
    # The same operations but for those that a number makes trivial, which are exact.
    assert np.array_equal(done.output, wanted)
    for one, other in zip(done.state, final, strict=True):
        assert np.array_equal(one, other)
    assert Cell.parse(str(held)) == held
    assert pickle.loads(pickle.dumps(held)) == held
    assert held.states == given.states
    assert set(held.weights) <= set(given.weights)
    assert not any(name == left for left, _ in held.equations)


def test_held_open_and_never_keeping_the_gru_is_the_plain_network() -> None:
    for name in ("gru", "gru_reset_before"):
        plain = grus.hold(name, r=1, z=0)
        found = grus.equivalent(plain, "rnn")
        assert found
        assert plain.families["W"] == ("n",)
        assert grus.equivalent(f"{name}[r=1,z=0]", "rnn")
    # Breaks: any other number, and the other sense of z, make another function.
    for values in ({"r": 1, "z": 0.5}, {"r": 0, "z": 0}, {"z": 0}):
        assert not grus.equivalent(held_at(CELLS["gru"], values), "rnn")
    assert not grus.equivalent(grus.hold("gru_admit", r=1, z=0.5), "rnn")
    assert grus.equivalent(grus.hold("gru_admit", r=1, z=1), "rnn")


def test_held_shut_and_keeping_the_gru_is_a_constant_state() -> None:
    held = grus.hold("gru", r=0, z=1)
    assert str(held) == "h_next = h"
    assert held.weights == ()
    with pytest.raises(grus.InputError, match="gru_r0_z1 has no weights: there is nothing to map"):
        grus.equivalent(held, "rnn")
    start = np.array([[1.0, -2.0]])
    done = run(held, {}, np.full((9, 1, 3), np.nan), start)
    assert np.array_equal(done.output, np.broadcast_to(start, (9, 1, 2)))
    with pytest.raises(grus.InputError, match=r"no weight tells the size of state h; give h0"):
        run(held, {}, np.zeros((9, 1, 3)))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("gru[z=0.5]", "h_next = 0.5 * h + 0.5 * n"),
        ("gru_reset_before[r=0]", "n = tanh(W.n @ x + b.n)"),
        ("lstm[i=1]", "c_next = f * c + g"),
        ("lstm[f=0]", "c_next = i * g"),
        ("lstm[o=0]", "h_next = 0 * h + 0 * c"),
        ("gru[n=0.3,z=0]", "h_next = 0.3 + 0 * h"),
        ("lstm[i=1,f=1,g=0.1,o=1]", "h_before = h"),
    ],
)
def test_what_becomes_trivial_goes(spec: str, text: str) -> None:
    assert text in str(cell(spec)).splitlines()


def test_holding_one_after_the_other_is_holding_both() -> None:
    gru = CELLS["gru"]
    both = held_at(gru, {"z": 0, "r": 1})
    assert held_at(held_at(gru, {"r": 1}), {"z": 0}) == both == cell("gru[ r=1, z = 0 ]")
    assert both.name == "gru_r1_z0"
    assert held_at(gru, {"z": -0.5}).name == "gru_zminus0_5"
    assert both.doc.endswith("Held: r = 1, z = 0.")
    assert held_at(gru, {}) is gru


def test_a_name_with_brackets_names_a_held_cell_everywhere(tmp_path: object) -> None:
    assert cell("chung2014[z=1]") == held_at(CELLS["gru_reset_before_admit"], {"z": 1})
    assert "arXiv 1412.3555" in explain_name("chung2014[z=1]")
    assert separate("rnn, gru[r=1,z=0],lstm") == ["rnn", "gru[r=1,z=0]", "lstm"]
    file = f"{tmp_path}/mine.py"
    with open(file, "w") as out:
        out.write("from grus import CELLS\nMine = CELLS['lstm']\n")
    assert cell(f"{file}:Mine[f=1]") == held_at(CELLS["lstm"], {"f": 1})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gru[q=1]", "cell gru has no value 'q' to hold; it has r, z, m, n"),
        ("gru[h=1]", "no value 'h' to hold .a state or an output is a result.; it has r, z, m, n"),
        ("gru[h_next=1]", "a state or an output is a result"),
        ("rnn[n=1]", "it has none"),
        ("gru[z=inf]", "z can be held at a finite number, not at inf"),
        ("gru[z]", "what is held is written r=1,z=0, got 'z'"),
        ("gru[]", "what is held is written"),
        ("gru[r=1,r=1]", "r is held twice"),
        ("gru[", "no cell is called"),
        ("none[z=1]", "no cell is called 'none'"),
    ],
)
def test_what_cannot_be_held_is_said(spec: str, message: str) -> None:
    with pytest.raises(CellError, match=message):
        cell(spec)


@pytest.mark.parametrize("value", [math.nan, True, "1", None, 1j])
def test_only_finite_numbers_are_held(value: object) -> None:
    with pytest.raises(CellError, match="z can be held at a finite number"):
        held_at(CELLS["gru"], {"z": value})  # type: ignore[dict-item]


def test_a_constant_vector_in_a_product_is_no_cell() -> None:
    given = Cell.parse("q = tanh(W.q @ x + h)\nh_next = tanh(U.h @ q + W.h @ x)")
    with pytest.raises(CellError, match=r"q = 0.5: .*U.h @ needs a vector"):
        held_at(given, {"q": 0.5})
    assert str(held_at(given, {"q": 0})) == "h_next = tanh(W.h @ x)"


def test_an_output_without_a_state_of_its_axis_is_no_number() -> None:
    given = Cell.parse("q = tanh(W.q @ x)\nh_next = tanh(U.h @ h)\ny = V.y @ (q * h)")
    with pytest.raises(CellError, match="y is the number 0, and no state has its axis"):
        held_at(given, {"q": 0})


def test_weights_that_do_not_fit_are_said() -> None:
    gru = CELLS["gru"]
    held = held_at(gru, {"z": 0})
    with pytest.raises(CellError, match="has weight families"):
        hold_weights(gru, held, {"W": np.zeros((6, 1))})
    shapes = {"W": (7, 1), "U": (6, 2), "b": (6,), "d": (2,)}
    with pytest.raises(CellError, match="W stacks 3 gates, got shape"):
        hold_weights(gru, held, {f: np.zeros(shape) for f, shape in shapes.items()})


@pytest.mark.parametrize("text", ["sqrt(0 - 1)", "exp(1000)", "h / 0", "1 / 0", "h / (1 - 1)"])
def test_numbers_that_give_no_number_are_said(text: str) -> None:
    with pytest.raises(CellError, match="is no finite number"):
        simplify(read(text, frozenset({"h"}), frozenset()))
