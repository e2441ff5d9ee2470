"""A worksheet's values are the kernels', and each stage, worked out by itself, comes to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import cells
from grus import runtime
from grus.equations import Apply, Cell, Const, Expr, State, Weight
from grus.errors import InputError
from grus.reference import NUMPY, evaluate
from grus.worksheet.filling import ELIDED, Filling
from grus.worksheet.wording import decimal
from grus.worksheet.worksheet import MAX_LINES, MOST_TERMS, Line, Worksheet, worksheet

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


def sheet_of(
    cell: Cell, hidden: int = 2, dtype: str = "float64", reverse: bool = False
) -> tuple[Worksheet, dict[str, np.ndarray], tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]]:
    rng = np.random.default_rng(7)
    size = cells.sizes(cell, 2, hidden, 3)
    weights = {f: w.astype(dtype) for f, w in cells.draw_weights(cell, size, rng).items()}
    x = rng.normal(size=(STEPS, size["input"])).astype(dtype)
    start = tuple(s.astype(dtype) for s in cells.draw_states(cell, size, 1, rng))
    done = runtime.values(cell, weights, x[:, None], start, reverse=reverse)
    alone = tuple(s[0] for s in start)
    return worksheet(cell, weights, x, alone, reverse=reverse), weights, done


@every_cell
@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_every_value_is_the_kernels_bit_for_bit(
    cell: Cell, hidden: int, dtype: str, reverse: bool
) -> None:
    sheet, _, (values, final) = sheet_of(cell, hidden, dtype, reverse)
    assert sheet.by == f"the compiled kernels in {dtype}"
    assert [step.number for step in sheet.steps] == ([3, 2, 1] if reverse else [1, 2, 3])
    for step in sheet.steps:
        for equation in step.equations:
            shown = [line.value for line in equation.lines]
            assert np.array_equal(shown, values[equation.name][step.number - 1, 0])
    assert list(sheet.final) == list(cell.states)
    for name, state in zip(cell.states, final, strict=True):
        assert np.array_equal(sheet.final[name], state[0])
    last = 0 if reverse else -1
    assert np.array_equal(sheet.output, values[cell.output][last, 0])


def far(line: Line, near: float) -> bool:
    """True where a stage does not come to the line's value, or a product's terms to its own."""
    size = max(1, abs(line.value))
    return any(abs(worked(stage) - line.value) > near * size for stage in line.stages) or any(
        abs(worked(p.terms) - p.value) > NEAR for p in line.products
    )


def lines_of(sheet: Worksheet) -> list[Line]:
    return [line for s in sheet.steps for equation in s.equations for line in equation.lines]


@every_cell
@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_stage_and_product_comes_to_the_value_that_follows_it(
    cell: Cell, hidden: int, dtype: str
) -> None:
    sheet, _, _ = sheet_of(cell, hidden, dtype)
    # The stages are exact to NEAR in float64; a value of the kernels carries its dtype's rounding.
    near = NEAR * 2.0 ** (53 - 24) if dtype == "float32" else NEAR
    assert not any(far(line, near) for line in lines_of(sheet))


@every_cell
def test_what_is_printed_last_is_the_kernels_number_to_every_digit(cell: Cell) -> None:
    """The last stage, worked out, prints as the value below it does: nothing to explain away."""
    sheet, _, _ = sheet_of(cell, 3)
    for line in lines_of(sheet):
        for stage in line.stages[-1:]:
            assert decimal(worked(stage), 5) == decimal(line.value, 5)


def test_a_changed_value_and_a_swapped_gate_do_not_pass() -> None:
    cell = cells.ALL_CELLS["gru"]
    sheet, weights, (values, _) = sheet_of(cell)
    line = lines_of(sheet)[0]
    assert far(replace(line, value=line.value + 1e-9), NEAR)
    swapped = weights | {"W": np.roll(weights["W"], 2, axis=0)}
    other = worksheet(cell, swapped, np.array([step.x for step in sheet.steps]))
    shown = [line.value for line in other.steps[0].equations[0].lines]
    assert not np.allclose(shown, values["r"][0, 0], atol=1e-3)


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
    with pytest.raises(InputError, match=f"1 unit has {MAX_LINES + 1} lines.* choose fewer"):
        worksheet(RNN, weights_of(1), np.zeros((MAX_LINES + 1, 1)))
    with pytest.raises(InputError, match="at least one step"):
        worksheet(RNN, weights_of(1), np.zeros((0, 1)))
    with pytest.raises(InputError, match="steps: there is no 2; they are 0 to 1"):
        worksheet(RNN, weights_of(1), np.zeros((2, 1)), steps=[2])
    with pytest.raises(InputError, match="units: none is asked for; they are 0 to 2"):
        worksheet(RNN, weights_of(3), np.zeros((2, 1)), units=[])


def wide(hidden: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = {"W": (hidden, 5), "U": (hidden, hidden), "b": (hidden,)}
    weights = {f: rng.normal(0, 0.1, s).astype("float32") for f, s in shapes.items()}
    return weights, rng.normal(size=(6, 5)).astype("float32")


@pytest.mark.parametrize("hidden", [MOST_TERMS, MOST_TERMS + 1, 700])
def test_a_long_sum_is_shortened_and_its_value_is_that_of_all_terms(hidden: int) -> None:
    weights, x = wide(hidden)
    sheet = worksheet(RNN, weights, x, steps=[4], units=[2, hidden - 1])
    (step,) = sheet.steps
    assert [line.unit for line in step.equations[0].lines] == [3, hidden]
    for line in step.equations[0].lines:
        product = line.products[1]
        k = (line.unit or 0) - 1
        exact = np.float64(weights["U"][k]) @ np.float64(step.before["h"])
        # Two orders of adding `hidden` products.
        assert abs(product.value - exact) <= hidden * 2.0**-52 * np.abs(weights["U"][k]).sum()
        assert (ELIDED.name in str(product.terms)) == (hidden > MOST_TERMS)


def test_a_step_in_the_middle_is_the_same_alone() -> None:
    weights, x = wide(4)
    every = worksheet(RNN, weights, x)
    alone = worksheet(RNN, weights, x, steps=[3], units=[1])
    assert alone.total == every.total == 6
    assert alone.final == every.final
    assert alone.steps[0].before == every.steps[2].after
    assert alone.steps[0].equations[0].lines == every.steps[3].equations[0].lines[1:2]


def test_where_the_kernels_are_off_the_sheet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, x = wide(3)
    fast = worksheet(RNN, weights, x)
    monkeypatch.setenv("GRUS_BACKEND", "reference")
    slow = worksheet(RNN, weights, x)
    assert slow.by.startswith("the slow reference in float64, not the kernels (GRUS_BACKEND=ref")
    assert slow.final["h"] == pytest.approx(fast.final["h"], abs=1e-5)
    assert slow.final != fast.final


def test_numbers_that_overflow_say_where() -> None:
    relu = cells.ALL_CELLS["rnn_relu"]
    weights = {"W": np.full((1, 1), 1e300), "U": np.full((1, 1), 1e300), "b": np.zeros(1)}
    with pytest.raises(InputError, match="step 2: h_next is not finite"):
        worksheet(relu, weights, np.array([[1.0], [2.0]]))


def test_a_cell_with_masks_says_which() -> None:
    cell = cells.ALL_CELLS["zoneout"]
    size = cells.sizes(cell)
    weights = cells.draw_weights(cell, size, np.random.default_rng(0))
    with pytest.raises(InputError, match="cell zoneout reads keep at each step beside x, got none"):
        worksheet(cell, weights, np.zeros((1, 3)))


@pytest.mark.parametrize("product", ["U.h @ blocks(h, 3)", "U.h.T @ blocks(h, 3)"])
def test_a_row_of_blocks_has_the_terms_of_its_own_block(product: str) -> None:
    rng, expr = np.random.default_rng(0), Cell.parse(f"h_next = {product}")["h_next"]
    leaves = {Weight("U", "h"): rng.normal(size=(6, 2)), State("h"): rng.normal(size=(1, 6))}
    filling = Filling(leaves, most=10)
    for unit in range(6):
        terms = filling.terms(expr, unit)
        assert str(terms).count("*") == 2
        assert evaluate(terms, {}) == pytest.approx(filling.value(expr, unit).value)
