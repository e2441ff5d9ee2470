"""Gates that are exactly 0 or 1, numbers that are not: what must hold to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agreement import Problem, draw, train
from bits import forward, same
from cells import ALL_CELLS
from grus import reference, runtime
from grus.equations import Weight
from grus.reference import split

both = pytest.mark.parametrize("dtype", ["float32", "float64"])
KEEPING = ["gru", "gru_reset_before"]
ADMITTING = ["gru_admit", "gru_reset_before_admit"]


def with_gate(problem: Problem, gate: str, bias: float) -> Problem:
    """The problem with the bias of a gate so large that the gate is exactly 0 or 1."""
    weights = {family: w.copy() for family, w in problem.weights.items()}
    split(problem.cell, weights)[Weight("b", gate)][...] = bias
    return replace(problem, weights=weights)


@both
@pytest.mark.parametrize("name", [*KEEPING, *ADMITTING])
def test_a_gate_that_keeps_everything_never_changes_the_state(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (1000, 3, 5, 19), dtype)
    closed = with_gate(problem, "z", 1e4 if name in KEEPING else -1e4)
    found = forward(closed)
    same("h0", found.state, problem.start)
    same("every step", [found.output], [np.broadcast_to(problem.start[0], found.output.shape)])


@both
@pytest.mark.parametrize("name", [*KEEPING, *ADMITTING])
def test_then_the_gradient_of_the_state_is_exactly_the_identity(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (50, 3, 5, 19), dtype)
    run = train(with_gate(problem, "z", 1e4 if name in KEEPING else -1e4))
    p, dfinal = run.problem, (np.cos(run.final[0]),)
    dy = np.zeros_like(run.output)
    found = runtime.backward(p.cell, p.weights, p.x, run.output, run.saved, dy, dfinal)
    assert (found.h0[0] == dfinal[0]).all()
    assert found.x is not None
    assert not found.x.any()
    assert not any(gradient.any() for gradient in found.weights.values())


@both
@pytest.mark.parametrize("name", ["gru_reset_before", "gru_reset_before_admit"])
def test_a_gru_that_admits_all_and_resets_nothing_is_the_plain_rnn(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (20, 3, 5, 19), dtype)
    problem = with_gate(problem, "z", -1e4 if name in KEEPING else 1e4)
    found = forward(with_gate(problem, "r", 1e4))
    weights = split(problem.cell, problem.weights)
    rnn = {family: weights[Weight(family, "n")] for family in "WUb"}
    plain = forward(replace(problem, cell=ALL_CELLS["rnn"], weights=rnn))
    same("rnn", [found.output, *found.state], [plain.output, *plain.state])


@both
@pytest.mark.parametrize("name", ["gru", "gru_reset_before", "lstm", "rnn", "rnn_relu", "sru"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_go_where_the_reference_says(
    name: str, bad: float, dtype: str
) -> None:
    problem = draw(ALL_CELLS[name], (5, 4, 3, 19), dtype)
    x, start = problem.x.copy(), tuple(s.copy() for s in problem.start)
    x[2, 1, 0] = bad
    start[-1][2, 7] = bad
    bad_problem = replace(problem, x=x, start=start)
    found = forward(bad_problem)
    with np.errstate(invalid="ignore", over="ignore"):
        want = reference.run(problem.cell, problem.weights, x, start)
    assert np.isnan(found.output).any() or not np.isnan(bad)
    assert (np.isnan(found.output) == np.isnan(want.output)).all()
    assert (np.isinf(found.output) == np.isinf(want.output)).all()
    finite = np.isfinite(want.output)
    # The bits of what is finite are checked elsewhere; here only that nothing came out of place.
    assert np.abs(found.output[finite] - want.output[finite]).max() <= 1e-4
    rows = [0, 3]
    same("other rows", [found.output[:, rows]], [forward(problem).output[:, rows]])


@both
def test_huge_numbers_saturate_and_do_not_overflow_inside(dtype: str) -> None:
    problem = draw(ALL_CELLS["lstm"], (6, 4, 3, 19), dtype)
    huge = np.finfo(dtype).max / 64
    found = forward(replace(problem, x=np.sign(problem.x) * huge))
    assert np.isfinite(found.output).all()
    assert (np.abs(found.output) <= 1).all()
