"""A cell is a frozen value: equal by its equations, hashed once, copied and pickled by its text."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import cast

import pytest

from grus.equations import CELLS, Cell, Name, U, W, Weight, b, c, d, h, sigmoid, tanh, x


def defined_in_a_function() -> Cell:
    scale = 0.5

    class HalfGate(Cell):
        """A local cell."""

        k = scale
        z = sigmoid(k * (W.z @ x) + U.z @ h)
        h_next = z * h + (1 - z) * tanh(W.n @ x)

    return cast("Cell", HalfGate)


EVERY = [*CELLS.values(), defined_in_a_function()]


@pytest.mark.parametrize("cell", EVERY, ids=lambda cell: cell.name)
def test_copies_and_pickles_are_equal_and_keep_name_and_doc(cell: Cell) -> None:
    for again in (
        copy.copy(cell),
        copy.deepcopy(cell),
        *(pickle.loads(pickle.dumps(cell, p)) for p in range(2, pickle.HIGHEST_PROTOCOL + 1)),
    ):
        assert again == cell
        assert hash(again) == hash(cell)
        assert (again.name, again.doc) == (cell.name, cell.doc)
        assert again.weights == cell.weights


def test_two_cells_are_equal_when_their_equations_are_whatever_they_are_called() -> None:
    gru = CELLS["gru"]
    other = Cell.parse(str(gru), name="mine", doc="another doc")
    assert other == gru
    assert len({other, gru}) == 1
    assert gru != CELLS["gru_admit"]
    assert gru != str(gru)


def test_the_order_of_the_equations_counts() -> None:
    one = Cell.parse("r = h * 2\nz = h * 3\nh_next = r + z")
    other = Cell.parse("z = h * 3\nr = h * 2\nh_next = r + z")
    assert one != other


def test_a_cell_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CELLS["gru"].name = "other"  # type: ignore[misc]


def test_a_class_body_names_the_cell_and_its_doc_is_one_line() -> None:
    cell = defined_in_a_function()
    assert isinstance(cell, Cell)
    assert cell.name == "half_gate"
    assert cell.doc == "A local cell."
    assert repr(cell).startswith("<Cell half_gate: z = sigmoid(0.5 * (W.z @ x) + U.z @ h); ")


def test_gates_stack_in_the_order_in_which_the_equations_name_them() -> None:
    assert CELLS["gru"].families == {
        "W": ("r", "z", "n"),
        "U": ("r", "z", "n"),
        "b": ("r", "z", "n"),
        "d": ("n",),
    }
    assert CELLS["lstm"].families["W"] == ("i", "f", "g", "o")
    swapped = Cell.parse("z = sigmoid(W.z @ x)\nr = sigmoid(W.r @ x)\nh_next = z * h + r")
    assert swapped.families == {"W": ("z", "r")}
    assert swapped.weights == (Weight("W", "z"), Weight("W", "r"))


def test_the_output_is_y_if_there_is_one_else_the_first_state() -> None:
    assert CELLS["gru"].output == "h_next"
    assert CELLS["lstm"].output == "h_next"
    assert Cell.parse("c_next = W.c @ x + c\ny = tanh(c_next)").output == "y"


def test_states_come_in_the_order_in_which_they_are_first_read() -> None:
    assert CELLS["lstm"].states == ("h", "c")
    assert Cell.parse("c_next = c + W.c @ x\nh_next = tanh(c_next)").states == ("c", "h")


def test_equations_are_found_by_name_in_order() -> None:
    gru = CELLS["gru"]
    assert [name for name, _ in gru] == ["r", "z", "m", "n", "h_next"]
    assert len(gru) == 5
    assert gru["m"] == U.n @ h + d.n
    with pytest.raises(KeyError, match="gru has no equation q"):
        gru["q"]


def test_inputs_are_x_and_the_masks() -> None:
    assert CELLS["gru"].inputs == (x,)
    assert Cell.parse("h_next = h * step.keep").inputs[0].per == "step"


def test_the_built_in_cells_say_what_the_papers_say() -> None:
    assert str(CELLS["gru"]) == (
        "r = sigmoid(W.r @ x + U.r @ h + b.r)\n"
        "z = sigmoid(W.z @ x + U.z @ h + b.z)\n"
        "m = U.n @ h + d.n\n"
        "n = tanh(W.n @ x + b.n + r * m)\n"
        "h_next = z * h + (1 - z) * n"
    )
    r, f, i, g = map(Name, "rfig")
    assert CELLS["gru_reset_before"]["n"] == tanh(W.n @ x + U.n @ (r * h) + b.n)
    assert CELLS["lstm"]["c_next"] == f * c + i * g


@pytest.mark.parametrize("keep", ["gru", "gru_reset_before"])
def test_the_two_senses_differ_in_the_last_equation_alone(keep: str) -> None:
    ours, theirs = dict(CELLS[keep].equations), dict(CELLS[f"{keep}_admit"].equations)
    z, n = Name("z"), Name("n")
    assert [name for name in ours if ours[name] != theirs[name]] == ["h_next"]
    assert ours["h_next"] == z * h + (1 - z) * n
    assert theirs["h_next"] == (1 - z) * h + z * n
