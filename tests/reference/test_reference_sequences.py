"""Sequences: initial state, lengths, resets, reverse, masks; and what a caller may get wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from grus.equations import CELLS, Cell
from grus.errors import InputError
from grus.reference import NUMPY, run, split
from grus.reference.recurrence import loop

STEPS, BATCH, INPUT, HIDDEN = 6, 4, 3, 5
SIZES = {"input": INPUT, "hidden": HIDDEN, "projection": 2}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(STEPS, BATCH, INPUT))
LENGTHS = np.array([3, 0, STEPS, 1])
NAN, INF = np.nan, np.inf

PROJECTED = Cell.parse(
    f"{str(CELLS['lstm']).rpartition('h_next')[0]}h_next = V.h @ (o * tanh(c_next))", "projected"
)
ZONEOUT = Cell.parse(
    "n = tanh(W.h @ x + U.h @ (sequence.drop * h) + b.h)\n"
    "h_next = step.keep * h + (1 - step.keep) * n",
    "zoneout",
)
EVERY = [*CELLS.values(), PROJECTED]
every_cell = pytest.mark.parametrize("cell", EVERY, ids=lambda cell: cell.name)
Arrays = dict[str, np.ndarray]


def draw(cell: Cell) -> tuple[Arrays, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(1)
    weights = {f: rng.normal(size=cell.family_shape(f, SIZES)) for f in cell.families}
    start = tuple(rng.normal(size=(BATCH, SIZES[cell.shapes.states[s]])) for s in cell.states)
    return weights, start


@every_cell
def test_no_initial_state_is_exactly_zeros(cell: Cell) -> None:
    weights, start = draw(cell)
    zeros = tuple(np.zeros_like(s) for s in start)
    assert np.array_equal(run(cell, weights, X).output, run(cell, weights, X, zeros).output)


@every_cell
def test_a_sequence_is_its_steps(cell: Cell) -> None:
    weights, start = draw(cell)
    whole = run(cell, weights, X, start)
    state = start
    for t in range(STEPS):
        one = run(cell, weights, X[t : t + 1], state)
        state = one.state
        assert np.array_equal(one.output[0], whole.output[t])
    for ours, theirs in zip(state, whole.state, strict=True):
        assert np.array_equal(ours, theirs)


@every_cell
def test_no_steps_give_back_the_initial_state_and_an_empty_output(cell: Cell) -> None:
    weights, start = draw(cell)
    done = run(cell, weights, X[:0], start)
    width = SIZES[str(cell.shapes.values[cell.output])]
    assert done.output.shape == (0, BATCH, width)
    assert all(map(np.array_equal, done.state, start))


def test_an_empty_batch_is_no_error() -> None:
    weights, _ = draw(CELLS["gru"])
    assert run(CELLS["gru"], weights, X[:, :0]).output.shape == (STEPS, 0, HIDDEN)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_each_row_runs_as_if_its_padding_were_not_there(cell: Cell, reverse: bool) -> None:
    weights, start = draw(cell)
    done = run(cell, weights, X, start, lengths=LENGTHS, reverse=reverse)
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        alone = run(cell, weights, X[:length, one], tuple(s[one] for s in start), reverse=reverse)
        # One row is another matrix product than four, so its sums of eight terms may round
        # otherwise, by 8 * 2^-53 of their size; weights of size 1 amplify that by at most
        # about 3 a step: 3^6 * 8 * 2^-53 = 6e-13 of the largest value.
        near = 6e-13 * max(1.0, np.abs(done.output).max())
        assert np.abs(done.output[:length, one] - alone.output).max(initial=0) < near
        assert not done.output[length:, row].any()
        for ours, theirs in zip(done.state, alone.state, strict=True):
            assert np.abs(ours[one] - theirs).max() < near
        if length == 0:
            assert all(
                np.array_equal(s[row], s0[row]) for s, s0 in zip(done.state, start, strict=True)
            )


@every_cell
@pytest.mark.parametrize("rubbish", [NAN, INF, -INF])
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_reaches_nothing(cell: Cell, rubbish: float, reverse: bool) -> None:
    weights, start = draw(cell)
    x = X.copy()
    for row, length in enumerate(LENGTHS):
        x[length:, row] = rubbish
    clean = run(cell, weights, X, start, lengths=LENGTHS, reverse=reverse)
    padded = run(cell, weights, x, start, lengths=LENGTHS, reverse=reverse)
    assert np.array_equal(padded.output, clean.output)
    assert all(map(np.array_equal, padded.state, clean.state))


@every_cell
def test_reverse_is_the_flipped_sequence_in_time_order(cell: Cell) -> None:
    weights, start = draw(cell)
    ours = run(cell, weights, X, start, reverse=True)
    flipped = run(cell, weights, X[::-1], start)
    assert np.array_equal(ours.output, flipped.output[::-1])
    assert all(map(np.array_equal, ours.state, flipped.state))


@every_cell
@pytest.mark.parametrize("at", [0, 3, STEPS - 1])
@pytest.mark.parametrize("reset_to", ["zero", "h0"])
def test_a_reset_begins_a_new_episode_in_every_term(cell: Cell, at: int, reset_to: Any) -> None:
    weights, start = draw(cell)
    resets = np.zeros((STEPS, BATCH), bool)
    resets[at, 1] = True
    done = run(cell, weights, X, start, resets=resets, reset_to=reset_to)
    plain = run(cell, weights, X, start)
    anew = run(cell, weights, X[at:], start if reset_to == "h0" else None)
    others = [0, 2, 3]
    assert np.array_equal(done.output[:, others], plain.output[:, others])
    assert np.array_equal(done.output[:at, 1], plain.output[:at, 1])
    assert np.array_equal(done.output[at:, 1], anew.output[:, 1])
    assert all(np.array_equal(s[1], a[1]) for s, a in zip(done.state, anew.state, strict=True))


@every_cell
def test_in_reverse_a_reset_forgets_what_came_after_in_time(cell: Cell) -> None:
    weights, start = draw(cell)
    resets = np.zeros((STEPS, BATCH), bool)
    resets[2] = True
    done = run(cell, weights, X, start, resets=resets, reverse=True)
    anew = run(cell, weights, X[:3], reverse=True)
    assert np.array_equal(done.output[:3], anew.output)


@pytest.mark.parametrize("dtype", [bool, int, float, np.uint8])
def test_resets_may_be_of_any_type_that_holds_zero_and_one(dtype: type) -> None:
    weights, start = draw(CELLS["gru"])
    resets = RNG.integers(0, 2, (STEPS, BATCH))
    one = run(CELLS["gru"], weights, X, start, resets=resets.astype(bool))
    other = run(CELLS["gru"], weights, X, start, resets=resets.astype(dtype))
    assert np.array_equal(one.output, other.output)


@every_cell
@pytest.mark.parametrize("rubbish", [NAN, INF])
def test_nothing_from_before_a_reset_leaks_through_it(cell: Cell, rubbish: float) -> None:
    weights, start = draw(cell)
    resets = np.zeros((STEPS, BATCH), bool)
    resets[3] = True
    x = X.copy()
    x[:3] = rubbish
    with np.errstate(invalid="ignore"):  # inf - inf before the reset is meant here
        done = run(cell, weights, x, start, resets=resets)
    assert np.array_equal(done.output[3:], run(cell, weights, X[3:]).output)
    nan_start = tuple(np.full_like(s, NAN) for s in start)
    resets[0] = True
    done = run(cell, weights, X, nan_start, resets=resets)
    assert np.isfinite(done.output).all()


def test_a_reset_by_multiplication_would_leak() -> None:
    cell = CELLS["gru"]
    weights, start = draw(cell)
    product = replace(NUMPY, where=lambda rows, a, b: rows * a + (1.0 - rows) * b)
    resets = np.zeros((STEPS, BATCH), bool)
    resets[3] = True
    x = X.copy()
    x[:3] = NAN
    single, none = split(cell, weights), {}
    broken = loop(cell, single, x, start, None, resets, False, "zero", none, product)
    assert np.isnan(broken.output[3:]).all()
    whole = loop(cell, single, x, start, None, resets, False, "zero", none, NUMPY)
    assert np.isfinite(whole.output[3:]).all()


def test_a_reset_beyond_a_rows_end_changes_nothing() -> None:
    weights, start = draw(CELLS["lstm"])
    resets = np.zeros((STEPS, BATCH), bool)
    resets[4] = True
    lengths = np.array([3, 0, 4, 1])
    one = run(CELLS["lstm"], weights, X, start, lengths=lengths, resets=resets)
    other = run(CELLS["lstm"], weights, X, start, lengths=lengths)
    assert np.array_equal(one.output, other.output)
    assert all(map(np.array_equal, one.state, other.state))


def test_masks_are_taken_per_step_and_per_sequence() -> None:
    weights, start = draw(ZONEOUT)
    keep = RNG.integers(0, 2, (STEPS, BATCH, HIDDEN)).astype(float)
    drop = RNG.integers(0, 2, (BATCH, HIDDEN)).astype(float)
    done = run(ZONEOUT, weights, X, start, masks={"keep": keep, "drop": drop})
    h = start[0]
    for t in range(STEPS):
        n = np.tanh(X[t] @ weights["W"].T + (drop * h) @ weights["U"].T + weights["b"])
        h = keep[t] * h + (1 - keep[t]) * n
        assert np.array_equal(done.output[t], h)
    every = run(ZONEOUT, weights, X, start, masks={"keep": np.ones_like(keep), "drop": drop})
    assert all(np.array_equal(output, start[0]) for output in every.output)


def test_float32_is_computed_in_float64() -> None:
    weights, _ = draw(CELLS["gru"])
    low = {f: w.astype(np.float32) for f, w in weights.items()}
    high = {f: w.astype(np.float64) for f, w in low.items()}
    x = X.astype(np.float32)
    done = run(CELLS["gru"], low, x)
    assert done.output.dtype == np.float64
    assert np.array_equal(done.output, run(CELLS["gru"], high, x.astype(np.float64)).output)


def test_inputs_are_not_modified() -> None:
    weights, start = draw(CELLS["gru"])
    x, lengths = X.copy(), LENGTHS.copy()
    arrays = [x, lengths, *start, *weights.values()]
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    run(CELLS["gru"], weights, x, start, lengths=lengths)
    assert all(map(np.array_equal, arrays, before))


GRU = CELLS["gru"]
GOOD, START = draw(GRU)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "x of two axes": ({"x": X[0]}, r"x must be \[time, batch, input\], got shape \(4, 3\)"),
    "x of text": ({"x": [[["a"]]]}, "x must hold real numbers, got <U1"),
    "x complex": ({"x": X * 1j}, "x must hold real numbers, got complex128"),
    "x ragged": ({"x": [[[1.0], [1.0, 2.0]]]}, "x must be an array of numbers"),
    "x of other width": (
        {"x": X[..., :2]},
        r"weights\['W'\] must have shape \(15, 2\), got \(15, 3\)",
    ),
    "family missing": (
        {"weights": {k: v for k, v in GOOD.items() if k != "d"}},
        r"families \['U', 'W', 'b', 'd'\], got \['U', 'W', 'b'\]",
    ),
    "family unknown": ({"weights": GOOD | {"q": X}}, r"got \['U', 'W', 'b', 'd', 'q'\]"),
    "rows do not divide": (
        {"weights": GOOD | {"W": GOOD["W"][:-1]}},
        r"W stacks 3 gates \(r, z, n\) of a matrix, got shape \(14, 3\)",
    ),
    "vector for matrix": ({"weights": GOOD | {"U": GOOD["b"]}}, "U stacks 3 gates .* of a matrix"),
    "matrix for vector": ({"weights": GOOD | {"b": GOOD["U"]}}, "b stacks 3 gates .* of a vector"),
    "bias of other size": (
        {"weights": GOOD | {"b": np.zeros(12)}},
        r"weights\['b'\] must have shape \(15,\), got \(12,\)",
    ),
    "h0 of other batch": ({"h0": START[0][:2]}, r"h0 of state h must have shape \(4, 5\)"),
    "h0 of too many states": ({"h0": (START[0],) * 2}, "h0 must hold 1 states"),
    "h0 of text": ({"h0": "zero"}, "h0 must hold real numbers"),
    "lengths too long": ({"lengths": [7, 0, 0, 0]}, r"lengths must lie in 0\.\.6, got 0\.\.7"),
    "lengths negative": ({"lengths": [-1, 0, 0, 0]}, r"lengths must lie in 0\.\.6, got -1"),
    "lengths of floats": (
        {"lengths": [1.0, 0, 0, 0]},
        "lengths must be whole numbers, got float64",
    ),
    "lengths of bools": ({"lengths": [True] * 4}, "lengths must be whole numbers, got bool"),
    "lengths of other batch": ({"lengths": [1, 2]}, r"lengths must be \[batch\] = \(4,\)"),
    "resets of other shape": (
        {"resets": np.zeros(STEPS)},
        r"resets must be \[time, batch\] = \(6, 4\) like the input, got shape \(6,\)",
    ),
    "resets of other values": (
        {"resets": np.full((STEPS, BATCH), 2)},
        "resets must be bool, or 0 and 1",
    ),
    "resets nan": ({"resets": np.full((STEPS, BATCH), NAN)}, "resets must be bool, or 0 and 1"),
    "mask unknown": ({"masks": {"k": X}}, r"cell gru has masks \[\], got \['k'\]"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_an_error_that_names_the_argument(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(GRU, **({"weights": GOOD, "x": X} | given))


WRONG_MASKS = {
    "none": ({}, r"cell zoneout has masks \['drop', 'keep'\], got \[\]"),
    "per step given once": (
        {"keep": np.ones((BATCH, HIDDEN)), "drop": np.ones((BATCH, HIDDEN))},
        r"mask keep must have shape \(6, 4, 5\), got \(4, 5\)",
    ),
    "would broadcast": (
        {"keep": np.ones((STEPS, BATCH, 1)), "drop": np.ones((BATCH, HIDDEN))},
        r"mask keep must have shape \(6, 4, 5\)",
    ),
}


@pytest.mark.parametrize(("masks", "message"), WRONG_MASKS.values(), ids=WRONG_MASKS)
def test_a_mask_has_exactly_its_shape(masks: Arrays, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(ZONEOUT, draw(ZONEOUT)[0], X, masks=masks)


def test_x_used_element_by_element_is_never_broadcast() -> None:
    cell = Cell.parse("f = sigmoid(W.f @ x)\nc_next = f * c + W.c @ x\ny = c_next + x", "highway")
    weights = {"W": np.ones((2 * HIDDEN, 1))}
    with pytest.raises(InputError, match=r"uses x element by element: .*got 1 and 5"):
        run(cell, weights, X[..., :1])
    plain = Cell.parse("c_next = c * b.c + x", "leaky")
    with pytest.raises(InputError, match=r"uses x element by element: .*got 1 and 5"):
        run(plain, {"b": np.ones(HIDDEN)}, X[..., :1])
    done = run(plain, {"b": np.full(INPUT, 0.5)}, X[:2])
    assert np.array_equal(done.output[1], 0.5 * X[0] + X[1])


def test_a_state_whose_size_nothing_tells_is_an_error() -> None:
    with pytest.raises(InputError, match="no weight tells the size of state h"):
        run(Cell.parse("h_next = h * 0.5", "fading"), {}, X)
