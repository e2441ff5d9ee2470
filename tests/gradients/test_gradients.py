"""The derived backward step is the gradient, for every cell and for random ones."""

from __future__ import annotations

import pytest
from hypothesis import given, reject, settings

from cells import ALL_CELLS, FURTHER_CELLS, every_cell
from gradient_check import ProvesNothingError, check
from grus.equations import OPERATORS, Cell, Weight
from grus.errors import InputError
from grus.gradients import backward
from random_cells import cells


@every_cell
def test_derived_gradients_agree_with_differences_along_random_directions(cell: Cell) -> None:
    for seed in range(3):
        check(cell, seed=seed)


@pytest.mark.parametrize("name", FURTHER_CELLS)
def test_derived_gradients_of_further_inputs_agree_with_differences(name: str) -> None:
    check(FURTHER_CELLS[name])


@settings(max_examples=60, deadline=None)
@given(cells())
def test_derived_gradients_agree_with_differences_for_random_cells(cell: Cell) -> None:
    try:
        check(cell, steps=3)
    except ProvesNothingError:
        reject()  # a cell that explodes within three steps: differences say nothing about it


@every_cell
def test_the_backward_step_reads_only_what_is_saved_and_what_arrives(cell: Cell) -> None:
    back = backward(cell)
    arrives = {"x", "dy", *(i.name for i in cell.inputs)}
    assert {i.name for i in back.cell.inputs} <= arrives | set(back.saved)
    forward = {name for name, _ in back.forward.equations} | set(cell.states)
    assert set(back.saved) <= forward
    assert len(set(back.saved)) == len(back.saved)


@every_cell
def test_every_weight_has_a_gradient(cell: Cell) -> None:
    assert {term.weight for term in backward(cell).weights} == set(cell.weights)


@every_cell
def test_the_backward_equations_print_and_read_back(cell: Cell) -> None:
    derived = backward(cell).cell
    assert Cell.parse(str(derived), unused=True) == derived


def test_the_output_is_the_cells_own_where_flattening_reads_another_state_first() -> None:
    # Flat, tanh(c) gets a line of its own before h is read, so the flat cell lists c before h.
    cell = Cell.parse("h_next = tanh(h + tanh(c))\nc_next = tanh(h + c)")
    assert backward(cell).forward.states != cell.states
    check(cell)


def test_gates_are_in_the_cells_order_where_flattening_reads_another_gate_first() -> None:
    cell = Cell.parse("h_next = tanh(W.a @ x + tanh(W.b @ x + U.a @ h))")
    assert backward(cell).forward.families["W"] != cell.families["W"]
    check(cell)


def test_a_vector_of_weights_may_be_the_operand_of_a_product() -> None:
    check(Cell.parse("h_next = tanh(W.a @ x + U.a @ p.a + 0.5 * h)"))


def test_the_table_of_cells_uses_every_operator_that_has_a_derivative() -> None:
    """So that the checks above try every rule."""
    used = {getattr(node, "op", None) for cell in ALL_CELLS.values() for node in cell.nodes}
    derived = {name for name, op in OPERATORS.items() if op.derivative or op.linear}
    assert used >= derived - {"matmul_t", "exp", "positive", "log", "softplus"}
    # The others, which no cell here has: exp, a hard gate, logarithms.
    check(Cell.parse("h_next = log(2 + softplus(W.a @ x - h))"))
    check(Cell.parse("h_next = tanh(exp(-h * h) + positive(h) * (W.a @ x))"))


def test_a_cell_of_ones_own_in_eight_lines_is_differentiated() -> None:
    cell = ALL_CELLS["mgu"]
    assert len(cell) <= 8
    check(cell)
    terms = {(t.weight.name, t.adjoint) for t in backward(cell).weights}
    assert ("U.n", "a_n") in terms


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_gradients_hold_for_any_number_of_steps(steps: int) -> None:
    check(ALL_CELLS["gru"], steps=steps)
    assert Weight("U", "n") in {t.weight for t in backward(ALL_CELLS["gru"]).weights}


def test_the_adjoint_of_a_mean_has_the_axis_of_what_it_is_the_mean_of() -> None:
    check(Cell.parse("h_next = tanh(h + mean(W.a @ x + h))"))
    check(Cell.parse("h_next = tanh(W.a @ x + mean(h))"))


def test_a_transposed_product_has_the_derivative_of_a_product() -> None:
    check(Cell.parse("h_next = tanh(U.a.T @ h + x)"))
    check(Cell.parse("r = sigmoid(W.r @ x + U.r.T @ h)\nh_next = tanh(U.a.T @ (r * h) + x)"))
    check(Cell.parse("h_next = tanh(W.a.T @ x + U.a @ h)"))
    check(Cell.parse("n = U.a @ h + x\nh_next = tanh(h + U.a.T @ tanh(n))"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("h_next = tanh(h + mean(x))", "a mean over x has no derivative rule"),
        ("k = tanh(W.a @ x)\nh_next = k + step.k * h", "mask k and a value share a name"),
    ],
)
def test_what_has_no_derivative_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        backward(Cell.parse(text))
