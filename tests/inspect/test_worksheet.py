"""A worksheet's lines are true: each stage, worked out by itself, is the reference's value."""

from __future__ import annotations

import numpy as np
import pytest

import cells
from grus.equations import Apply, Cell, Const, Expr
from grus.errors import InputError
from grus.inspect.worksheet import MAX_LINES, MAX_TERMS, Worksheet, worksheet
from grus.reference import NUMPY, run

WITHOUT_MASKS = {
    name: cell
    for name, cell in cells.ALL_CELLS.items()
    if all(node.name == "x" for node in cell.inputs)
}
every_cell = pytest.mark.parametrize("cell", WITHOUT_MASKS.values(), ids=WITHOUT_MASKS)
# Sums of at most ten terms near 1 in another order.
NEAR = 10 * 2.0**-53 * 8
STEPS = 3


def worked(expr: Expr) -> float:
    """The value of an expression of numbers; a mean lists what it is of."""
    if isinstance(expr, Const):
        return expr.value
    assert isinstance(expr, Apply)
    args = [np.float64(worked(part)) for part in expr.args]
    return float(np.mean(args) if expr.op == "mean" else NUMPY.table[expr.op](*args))


def sheet_of(cell: Cell, hidden: int = 2) -> tuple[Worksheet, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(7)
    size = cells.sizes(cell, 2, hidden, 3)
    weights = cells.draw_weights(cell, size, rng)
    x = rng.normal(size=(STEPS, size["input"]))
    start = tuple(s[0] for s in cells.draw_states(cell, size, 1, rng))
    done = run(cell, weights, x[:, None], tuple(s[None] for s in start))
    return worksheet(cell, weights, x, start), weights, done


@every_cell
@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_every_value_is_the_references(cell: Cell, hidden: int) -> None:
    sheet, _, done = sheet_of(cell, hidden)
    for step, values in zip(sheet.steps, done.values, strict=True):
        for equation in step.equations:
            shown = [line.value for line in equation.lines]
            assert np.array_equal(shown, values[equation.name][0])
    assert list(sheet.final) == list(cell.states)
    for name, state in zip(cell.states, done.state, strict=True):
        assert np.array_equal(sheet.final[name], state[0])
    assert np.array_equal(sheet.output, done.output[-1, 0])


@every_cell
@pytest.mark.parametrize("hidden", [1, 3])
def test_every_stage_and_product_comes_to_the_value_that_follows_it(
    cell: Cell, hidden: int
) -> None:
    sheet, _, _ = sheet_of(cell, hidden)
    for step in sheet.steps:
        for equation in step.equations:
            for line in equation.lines:
                size = max(1, abs(line.value))
                for stage in line.stages:
                    assert worked(stage) == pytest.approx(line.value, abs=NEAR * size)
                for product in line.products:
                    assert worked(product.terms) == pytest.approx(product.value, abs=NEAR)


@every_cell
def test_each_stage_is_simpler_than_the_one_before(cell: Cell) -> None:
    def nodes(expr: Expr) -> int:
        return 1 + sum(map(nodes, expr.args)) if isinstance(expr, Apply) else 1

    sheet, _, _ = sheet_of(cell)
    for equation in sheet.steps[0].equations:
        for line in equation.lines:
            sizes = [nodes(stage) for stage in line.stages]
            assert sizes == sorted(sizes, reverse=True)
            assert len(set(sizes)) == len(sizes)


def test_a_step_reads_what_the_step_before_left() -> None:
    sheet, _, _ = sheet_of(cells.ALL_CELLS["lstm"])
    for earlier, later in zip(sheet.steps, sheet.steps[1:], strict=False):
        assert earlier.after == later.before
    assert [step.number for step in sheet.steps] == [1, 2, 3]


def test_one_unit_has_its_whole_line_and_no_product_apart() -> None:
    cell = cells.ALL_CELLS["gru"]
    weights = {"W": np.ones((3, 1)), "U": np.ones((3, 1)), "b": np.zeros(3), "d": np.zeros(1)}
    sheet = worksheet(cell, weights, np.array([[2.0]]))
    (line,) = sheet.steps[0].equations[0].lines
    assert line.unit is None
    assert line.products == ()
    one, two, nought = Const(1.0), Const(2.0), Const(0.0)
    assert line.stages == (
        Apply("sigmoid", (one * two + one * nought + nought,)),
        Apply("sigmoid", (two + nought + nought,)),
        Apply("sigmoid", (two,)),
    )


def test_several_units_are_counted_from_one_with_their_products_apart() -> None:
    sheet, weights, _ = sheet_of(cells.ALL_CELLS["gru_reset_before"], hidden=2)
    candidate = next(e for e in sheet.steps[0].equations if e.name == "n")
    assert [line.unit for line in candidate.lines] == [1, 2]
    first, second = candidate.lines[1].products
    # Row 2 of the third block, gates stacked r, z, n.
    row = weights["W"][5]
    x1, x2 = sheet.steps[0].x
    assert first.terms == Const(row[0]) * Const(x1) + Const(row[1]) * Const(x2)
    assert second.symbols == cells.ALL_CELLS["gru_reset_before"]["n"].args[0].args[0].args[1]


def test_a_product_inside_a_product_is_shown_as_its_values() -> None:
    cell = Cell.parse("h_next = tanh(W.h @ (V.k @ x) + U.h @ h)", "low_rank")
    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(size=(3, 2)), "V": rng.normal(size=(2, 4)), "U": np.eye(3)}
    x = rng.normal(size=(1, 4))
    (line, *_) = worksheet(cell, weights, x).steps[0].equations[0].lines
    inner = weights["V"] @ x[0]
    terms = [Const(w) * Const(float(v)) for w, v in zip(weights["W"][0], inner, strict=True)]
    assert worked(line.products[0].terms) == pytest.approx(worked(terms[0] + terms[1]), abs=NEAR)


def test_no_initial_state_is_zero() -> None:
    sheet = worksheet(
        cells.ALL_CELLS["rnn"],
        {"W": np.ones((1, 1)), "U": np.ones((1, 1)), "b": np.zeros(1)},
        np.array([[1.0]]),
    )
    assert sheet.steps[0].before == {"h": (0.0,)}


def weights_of(hidden: int) -> dict[str, np.ndarray]:
    return {"W": np.zeros((hidden, 1)), "U": np.zeros((hidden, hidden)), "b": np.zeros(hidden)}


RNN = cells.ALL_CELLS["rnn"]


def test_what_no_person_follows_is_refused_before_it_is_built() -> None:
    with pytest.raises(InputError, match=f"a row of {MAX_TERMS + 1} weights is more than"):
        worksheet(RNN, weights_of(MAX_TERMS + 1), np.zeros((1, 1)))
    with pytest.raises(InputError, match=f"1 units has {MAX_LINES + 1} lines.* give fewer steps"):
        worksheet(RNN, weights_of(1), np.zeros((MAX_LINES + 1, 1)))
    with pytest.raises(InputError, match="at least one step"):
        worksheet(RNN, weights_of(1), np.zeros((0, 1)))


def test_numbers_that_overflow_say_where() -> None:
    relu = cells.ALL_CELLS["rnn_relu"]
    weights = {"W": np.full((1, 1), 1e300), "U": np.full((1, 1), 1e300), "b": np.zeros(1)}
    with pytest.raises(InputError, match="step 2: h_next is not finite"):
        worksheet(relu, weights, np.array([[1.0], [2.0]]))


def test_a_cell_with_masks_says_which() -> None:
    cell = cells.ALL_CELLS["zoneout"]
    size = cells.sizes(cell)
    weights = cells.draw_weights(cell, size, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"cell zoneout has masks \['drop', 'keep'\], got \[\]"):
        worksheet(cell, weights, np.zeros((1, 3)))
