"""Operators that read other positions: spelling, axes, and what is refused."""

from __future__ import annotations

import pytest

from grus.equations import (
    Cell,
    CellError,
    State,
    U,
    W,
    Weight,
    h,
    hold,
    neighbours,
    numbers_after,
    patches,
    structure,
    x,
)
from grus.errors import InputError
from grus.gradients import backward
from grus.kernels import UnsupportedCellError, make_plan

CONV = Cell.parse("h_next = tanh(W.n @ patches(x, 3, 5) + U.n @ patches(h, 3, 5) + b.n)", "conv")
GRAPH = Cell.parse("h_next = tanh(W.n @ x + U.n @ neighbours(neighbours(h), 2))", "graph")


@pytest.mark.parametrize("cell", [CONV, GRAPH])
def test_a_gather_is_text_latex_and_part_of_a_cells_identity(cell: Cell) -> None:
    assert Cell.parse(str(cell)) == cell
    assert hash(Cell.parse(str(cell))) == hash(cell)
    assert Cell.parse(str(cell).replace("5", "3").replace("2", "1")) != cell
    assert r"\operatorname{" + cell.gathers[0].op in cell.latex()


def test_a_gather_is_built_as_it_is_read() -> None:
    """Matrix 0 has no number, so that one thing has one spelling."""
    assert Cell.parse("h_next = neighbours(h, 0)") == Cell.parse("h_next = neighbours(h)")
    assert str(neighbours(h)) == "neighbours(h)"
    assert numbers_after(patches(x, 3, 5)) == (3, 5)  # type: ignore[arg-type]
    built = Cell("built", (("h_next", W.a @ patches(x, 3) + U.a @ patches(h, 3)),))
    assert built == Cell.parse("h_next = W.a @ patches(x, 3) + U.a @ patches(h, 3)")


def test_a_matrix_has_a_column_for_each_place_under_its_window() -> None:
    sizes = {"input": 2, "hidden": 4}
    assert CONV.family_shape("W", sizes) == (4, 15 * 2)
    assert CONV.family_shape("U", sizes) == (4, 15 * 4)
    assert GRAPH.family_shape("U", sizes) == (4, 4)
    assert CONV.shapes.spelled(Weight("W", "n")) == ("hidden", "15 input")
    assert (CONV.positions, CONV.matrices) == (2, 0)
    assert (GRAPH.positions, GRAPH.matrices) == (1, 3)
    assert Cell.parse("h_next = W.a @ patches(h, 1, 5) + W.b @ patches(h, 5, 1)").positions == 2


def test_a_gather_mixes_units_and_is_linear() -> None:
    of = structure(Cell.parse("h_next = neighbours(h) + W.h @ x"))
    assert (of.jacobian, of.affine) == ("dense", True)
    assert "neighbours(h) in h_next" in of.mixes


def test_what_is_held_at_zero_leaves_its_gather() -> None:
    cell = Cell.parse("r = sigmoid(W.r @ x)\nh_next = tanh(W.n @ x + U.n @ patches(r * h, 3))")
    assert hold(cell, r=0) == Cell.parse("h_next = tanh(W.n @ x)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h_next = W.a @ patches(h, 2)", "in h_next = ...: patches(h, 2): a window's sizes are"),
        ("h_next = W.a @ patches(h)", "patches takes an expression and 1 to 2 numbers"),
        ("h_next = W.a @ patches(h, x)", "patches takes an expression and 1 to 2 numbers"),
        ("h_next = W.a @ patches(h, 3.5)", "takes whole numbers after the vector"),
        ("h_next = neighbours(h, -1)", "matrices are counted from 0"),
        ("h_next = tanh(patches(h, 3))", "stands right of a matrix and its @, and nowhere else"),
        ("q = patches(h, 3)\nh_next = W.a @ q", "stands right of a matrix and its @"),
        ("h_next = U.a.T @ patches(h, 3)", "U.a.T has no columns for patches"),
        ("h_next = W.a @ patches(2, 3) + h", "W.a @ needs a vector on its right"),
        ("h_next = h + neighbours(2)", "neighbours(2) needs a vector, not a number"),
        ("h_next = W.a @ patches(h, 3) + W.a @ h", "W.a reads windows of 3 and 1"),
        ("h_next = W.a @ patches(h, 3) + W.b @ patches(h, 5)", "W.b hidden x 5 hidden"),
        ("h_next = W.a @ patches(h, 3) + neighbours(h)", "they read different positions"),
        ("h_next = W.a @ patches(h, 3) + W.b @ patches(h, 1, 3)", "read different positions"),
        ("h_next = step.k * neighbours(h)", "step.k: a cell over positions takes no mask"),
    ],
)
def test_what_cannot_be_gathered_is_refused_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(CellError) as error:
        Cell.parse(text)
    assert message in str(error.value)


def test_an_operator_of_another_number_of_arguments_is_refused() -> None:
    with pytest.raises(CellError, match="unknown operator patches of 4 arguments"):
        Cell("one", (("h_next", W.a @ patches(State("h"), 3, 3, 3)),))


@pytest.mark.parametrize("cell", [CONV, GRAPH])
def test_what_needs_equations_or_kernels_refuses_other_positions(cell: Cell) -> None:
    with pytest.raises(InputError, match=r"reads other positions, .*layer of the cell has torch's"):
        backward(cell)
    with pytest.raises(UnsupportedCellError, match="the kernels read no other positions"):
        make_plan(cell)
