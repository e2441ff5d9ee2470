"""Whole sequences at PyTorch's default initialisation against the reference's own sequence.

Here errors travel from step to step. At this initialisation every cell of the table forgets: the
step shrinks differences of states. For the GRU with H units, |U|_2 is about 2 sqrt(H) sqrt(1/3H) =
1.15, gates are near 1/2, and dh'/dh has a norm of about 0.5 + 0.5 (0.5 * 1.15) + 0.1 = 0.9; for
the LSTM, with f and o near 1/2, about 0.9 too; the RNN's U has a spectral radius of 0.58. So T
steps are off by at most T times what one step may be off by, in the 2-norm over the state.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agreement import FLOAT64, Problem, Run, initialised, step_bounds, train
from backprop import Problem as Reference, backpropagate
from bounds import UNITS
from cells import ALL_CELLS
from grus import reference, runtime
from grus.kernels.layout import layout
from test_agreement import KERNEL_CELLS

STEPS = 100
SIZES = [(STEPS, 2, 32, 64), (STEPS, 2, 32, 128)]

every = pytest.mark.parametrize("name", KERNEL_CELLS)
each_size = pytest.mark.parametrize("sizes", SIZES, ids=lambda s: f"H{s[3]}")


def states(problem: Problem) -> np.ndarray:
    """The reference's states after each step, side by side, [time, batch, states * hidden]."""
    p = problem
    values = reference.run(p.cell, p.weights, p.x, p.start).values
    return np.array([np.concatenate([v[f"{s}_next"] for s in p.cell.states], -1) for v in values])


def norms(array: np.ndarray) -> np.ndarray:
    return np.linalg.norm(array, axis=-1)


@each_size
@every
def test_differences_of_states_shrink_at_this_initialisation(
    name: str, sizes: tuple[int, int, int, int]
) -> None:
    problem = initialised(ALL_CELLS[name], sizes, "float64")
    rng = np.random.default_rng(0)
    apart = [rng.normal(0.0, 1e-4, s.shape) for s in problem.start]
    start = tuple(s + e for s, e in zip(problem.start, apart, strict=True))
    off = norms(states(replace(problem, start=start)) - states(problem))
    assert (off <= norms(np.concatenate(apart, -1))).all()


@each_size
@every
def test_a_float32_sequence_is_off_by_no_more_than_its_steps_together(
    name: str, sizes: tuple[int, int, int, int]
) -> None:
    run = train(initialised(ALL_CELLS[name], sizes, "float32"))
    steps, names = step_bounds(run), run.problem.cell.states
    one = norms(np.concatenate([steps[f"{s}_next"].error for s in names], -1)).max()
    found = np.concatenate([run.after(s) for s in names], -1)
    off = norms(found - states(run.problem))
    assert (off <= one * np.arange(1, STEPS + 1)[:, None]).all()


@each_size
@every
def test_a_float64_sequence_is_right_to_1e_12(name: str, sizes: tuple[int, int, int, int]) -> None:
    p = initialised(ALL_CELLS[name], sizes, "float64")
    found = runtime.run(p.cell, p.weights, p.x, p.start)
    want = reference.run(p.cell, p.weights, p.x, p.start)
    for one, other in zip((found.output, *found.state), (want.output, *want.state), strict=True):
        assert np.abs(one - other).max() <= FLOAT64


def gradients(run: Run) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The kernel's gradients of a random linear loss, and the reference's."""
    p, rng = run.problem, np.random.default_rng(2)
    dy = rng.normal(0.0, 1.0, run.output.shape).astype(p.dtype)
    dfinal = tuple(rng.normal(0.0, 1.0, s.shape).astype(p.dtype) for s in run.final)
    found = runtime.backward(p.cell, p.weights, p.x, run.output, run.saved, dy, dfinal)
    problem = Reference(
        {family: w.astype(np.float64) for family, w in p.weights.items()},
        p.x.astype(np.float64),
        tuple(s.astype(np.float64) for s in p.start),
        {},
        dy.astype(np.float64),
        tuple(d.astype(np.float64) for d in dfinal),
    )
    want = backpropagate(p.cell, layout(p.cell).derived, problem)
    assert found.x is not None
    return (
        {**found.weights, "x": found.x, **dict(zip(p.cell.states, found.h0, strict=True))},
        {**want.weights, "x": want.x, **dict(zip(p.cell.states, want.start, strict=True))},
    )


@each_size
@every
def test_float64_gradients_of_a_sequence_are_right_to_1e_12_of_their_size(
    name: str, sizes: tuple[int, int, int, int]
) -> None:
    found, want = gradients(train(initialised(ALL_CELLS[name], sizes, "float64")))
    for leaf, gradient in want.items():
        size = max(1.0, np.abs(gradient).max())
        assert np.abs(found[leaf] - gradient).max() <= FLOAT64 * size, leaf


@each_size
@every
def test_float32_gradients_of_a_sequence_are_off_by_no_more_than_its_steps_together(
    name: str, sizes: tuple[int, int, int, int]
) -> None:
    """Each of T steps back is off by a chain of I + H products and some 16 operations, and so was
    each step forward, whose values it reads; differences shrink, so 2 T such errors add up."""
    found, want = gradients(train(initialised(ALL_CELLS[name], sizes, "float32")))
    relative = 2 * STEPS * UNITS["float32"].g(sizes[2] + sizes[3] + 16)
    for leaf, gradient in want.items():
        off = np.linalg.norm(found[leaf] - gradient)
        assert off <= relative * np.linalg.norm(gradient), leaf
