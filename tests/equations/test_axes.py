"""Axes are found from the equations alone: projection, peephole, masks, elementwise x."""

from __future__ import annotations

import pytest

from grus.equations import CELLS, Cell, Input, Weight
from grus.equations.flat import flatten
from grus.gradients import backward

LSTM = """
i = sigmoid(W.i @ x + U.i @ h + b.i)
f = sigmoid(W.f @ x + U.f @ h + b.f)
g = tanh(W.g @ x + U.g @ h + b.g)
o = sigmoid(W.o @ x + U.o @ h + b.o)
c_next = f * c + i * g
"""


def axes(cell: Cell, name: str) -> tuple[str, ...]:
    family, gate = name.split(".")
    return cell.shapes.weights[Weight(family, gate)]


def test_a_gru_has_the_axes_of_nn_gru() -> None:
    gru = CELLS["gru"]
    sizes = {"input": 3, "hidden": 5}
    assert axes(gru, "W.r") == ("hidden", "input")
    assert axes(gru, "U.n") == ("hidden", "hidden")
    assert axes(gru, "b.z") == ("hidden",)
    assert gru.family_shape("W", sizes) == (15, 3)
    assert gru.family_shape("U", sizes) == (15, 5)
    assert gru.family_shape("b", sizes) == (15,)
    assert gru.family_shape("d", sizes) == (5,)
    assert set(gru.shapes.values.values()) == {"hidden"}
    assert gru.shapes.equal == ()


def test_a_projection_gives_the_output_an_axis_of_its_own() -> None:
    cell = Cell.parse(LSTM + "h_next = V.h @ (o * tanh(c_next))")
    assert cell.shapes.states == {"h": "projection", "c": "hidden"}
    assert axes(cell, "U.i") == ("hidden", "projection")
    assert axes(cell, "V.h") == ("projection", "hidden")
    assert cell.shapes.values["h_next"] == "projection"
    assert cell.family_shape("U", {"input": 3, "hidden": 5, "projection": 2}) == (20, 2)


def test_a_projection_after_the_states_belongs_to_the_output_alone() -> None:
    cell = Cell.parse("h_next = tanh(W.h @ x + U.h @ h)\ny = V.y @ h_next")
    assert cell.shapes.values == {"h_next": "hidden", "y": "projection"}
    assert cell.shapes.states == {"h": "hidden"}


def test_a_state_as_long_as_the_input_leaves_another_its_own_size_backward_too() -> None:
    cell = Cell.parse("k = W.k @ (e.k * x + s)\nm_next = tanh(k * m)\ns_next = x", "two")
    assert cell.shapes.states == {"s": "input", "m": "hidden"}
    assert cell.shapes.equal == ()
    back = backward(cell).cell
    assert back.shapes.states == {"ds": "input", "dm": "hidden"}
    assert axes(back, "W.k") == ("hidden", "input")


def test_a_peephole_is_a_vector_because_it_is_used_as_one() -> None:
    cell = Cell.parse(LSTM.replace("U.i @ h", "U.i @ h + p.i * c") + "h_next = o * tanh(c_next)")
    assert axes(cell, "p.i") == ("hidden",)
    assert axes(cell, "U.i") == ("hidden", "hidden")


def test_masks_take_the_axis_of_what_they_multiply() -> None:
    cell = Cell.parse(
        "n = tanh(W.h @ (step.seen * x) + U.h @ (sequence.drop * h))\n"
        "h_next = step.keep * h + (1 - step.keep) * n"
    )
    assert cell.shapes.inputs == {
        Input("x"): "input",
        Input("seen"): "input",
        Input("drop", "sequence"): "hidden",
        Input("keep"): "hidden",
    }


def test_x_used_element_by_element_ties_input_to_hidden() -> None:
    cell = Cell.parse("c_next = c + W.c @ x\ny = c_next + x")
    assert cell.shapes.equal == (("input", "hidden"),)
    assert axes(cell, "W.c") == ("hidden", "hidden")


def test_a_mean_is_a_number_and_fits_every_axis() -> None:
    cell = Cell.parse("k = mean(W.n @ x + h)\nh_next = k * h + mean(x)")
    assert cell.shapes.values == {"k": None, "h_next": "hidden"}
    assert cell.shapes.equal == ()


def test_a_product_with_the_transpose_swaps_the_axes() -> None:
    cell = Cell.parse("h_next = tanh(W.a.T @ x + U.a @ h)")
    assert axes(cell, "W.a") == ("input", "hidden")


NESTED = "h_next = tanh(W.h @ (V.k @ x) + U.h @ h)"


@pytest.mark.parametrize(
    "cell",
    [*CELLS.values(), Cell.parse(NESTED), Cell.parse(LSTM + "h_next = V.h @ (o * tanh(c_next))")],
    ids=repr,
)
def test_naming_the_intermediate_values_changes_no_axis(cell: Cell) -> None:
    flat = flatten(cell)
    assert flat.shapes.weights == cell.shapes.weights
    assert flat.shapes.states == cell.shapes.states
    assert flat.shapes.inputs == cell.shapes.inputs


def test_a_product_of_a_product_has_a_width_of_its_own() -> None:
    cell = Cell.parse(NESTED)
    assert axes(cell, "V.k") == ("projection", "input")
    assert axes(cell, "W.h") == ("hidden", "projection")
    assert axes(cell, "U.h") == ("hidden", "hidden")
