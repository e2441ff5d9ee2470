"""What the gates mean, exactly: z = 1 keeps, r = 0 forgets, r = 1 and z = 0 is the plain RNN.

The gates are pinned by biases of +-1000, where the sigmoid is exactly 0 or 1 and its derivative
exactly 0, so these are equalities of bits and not of roundings.
"""

from __future__ import annotations

import numpy as np
import pytest

from grus.equations import CELLS, Cell
from grus.equations.expr import Weight
from grus.gradients import backward
from grus.reference import run, split, step, step_values

STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
KEEPS = ["gru", "gru_reset_before"]
ADMITS = ["gru_admit", "gru_reset_before_admit"]
SIZES = {"input": INPUT, "hidden": HIDDEN}


def draw(cell: Cell, seed: int, **gates: float) -> dict[str, np.ndarray]:
    """Random weights, with the biases of the named gates set to the values given."""
    rng = np.random.default_rng(seed)
    weights = {f: rng.normal(size=cell.family_shape(f, SIZES)) for f in cell.families}
    for gate, value in gates.items():
        at = cell.families["b"].index(gate)
        weights["b"][at * HIDDEN : (at + 1) * HIDDEN] = value
    return weights


def jacobian(
    cell: Cell, weights: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray
) -> np.ndarray:
    """dh'/dh [row of h', column of h] from the derived backward step, run by the reference."""
    back = backward(cell)
    single = split(cell, weights)
    rows = np.ones((HIDDEN, 1))
    forward = step_values(back.forward, single, {"x": rows * x}, (rows * h,))
    read = {node for node in back.cell.nodes if isinstance(node, Weight)}
    seen = forward | {"x": rows * x, "h": rows * h, "dy": np.zeros((HIDDEN, HIDDEN))}
    # Row k of the batch asks for the gradient of h'[k].
    now = step_values(back.cell, {w: single[w] for w in read}, seen, (np.eye(HIDDEN),))
    return np.asarray(now["dh_next"])


def point(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=INPUT), rng.normal(size=HIDDEN)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KEEPS)
def test_z_of_one_gives_exactly_the_identity_and_keeps_the_state(name: str, seed: int) -> None:
    cell = CELLS[name]
    weights, (x, h) = draw(cell, seed, z=1000.0), point(seed)
    assert np.array_equal(jacobian(cell, weights, x, h), np.eye(HIDDEN))
    output, _ = step(cell, split(cell, weights), {"x": x[None]}, (h[None],))
    assert np.array_equal(output[0], h)


@pytest.mark.parametrize("name", ADMITS)
def test_in_the_other_sense_it_is_z_of_zero_that_keeps(name: str) -> None:
    cell = CELLS[name]
    weights, (x, h) = draw(cell, 0, z=-1000.0), point(0)
    assert np.array_equal(jacobian(cell, weights, x, h), np.eye(HIDDEN))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KEEPS)
def test_r_and_z_of_zero_give_exactly_the_zero_jacobian(name: str, seed: int) -> None:
    cell = CELLS[name]
    weights, (x, h) = draw(cell, seed, r=-1000.0, z=-1000.0), point(seed)
    assert np.array_equal(jacobian(cell, weights, x, h), np.zeros((HIDDEN, HIDDEN)))


@pytest.mark.parametrize("name", KEEPS)
def test_a_free_gate_gives_neither(name: str) -> None:
    cell = CELLS[name]
    x, h = point(0)
    for gates in ({}, {"r": -1000.0}, {"z": -1000.0}, {"z": 30.0}):
        found = jacobian(cell, draw(cell, 0, **gates), x, h)
        assert not np.array_equal(found, np.eye(HIDDEN))
        assert found.any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KEEPS)
def test_the_jacobian_here_is_the_derivative(name: str, seed: int) -> None:
    cell = CELLS[name]
    weights, (x, h) = draw(cell, seed), point(seed)
    e = 2.0**-17  # truncation e^2 and rounding 2^-53 / e are both near 1e-10
    shifted = [h + sign * e * np.eye(HIDDEN) for sign in (1, -1)]
    outputs = [
        step(cell, split(cell, weights), {"x": np.ones((HIDDEN, 1)) * x}, (rows,))[0]
        for rows in shifted
    ]
    differences = (outputs[0] - outputs[1]).T / (2 * e)
    assert np.abs(jacobian(cell, weights, x, h) - differences).max() < 1e-8


def plain(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The candidate's weights alone, as the plain RNN's."""
    return {family: weights[family][2 * HIDDEN :] for family in "WUb"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KEEPS)
def test_r_of_one_and_z_of_zero_is_exactly_the_plain_rnn(name: str, seed: int) -> None:
    cell = CELLS[name]
    weights = draw(cell, seed, r=1000.0, z=-1000.0)
    if name == "gru":
        # Its equation adds the biases in other places than the plain RNN's, so bits can only
        # agree without them; the next test has them.
        weights |= {"d": np.zeros(HIDDEN)}
        weights["b"][2 * HIDDEN :] = 0.0
    rng = np.random.default_rng(seed + 100)
    x, h0 = rng.normal(size=(STEPS, BATCH, INPUT)), rng.normal(size=(BATCH, HIDDEN))
    ours, theirs = run(cell, weights, x, h0), run(CELLS["rnn"], plain(weights), x, h0)
    assert np.array_equal(ours.output, theirs.output)
    assert np.array_equal(ours.state[0], theirs.state[0])


@pytest.mark.parametrize("seed", range(3))
def test_with_biases_too_it_is_the_plain_rnn_with_two_biases(seed: int) -> None:
    cell = CELLS["gru"]
    two = Cell.parse("m = U.n @ h + d.n\nh_next = tanh(W.n @ x + b.n + m)")
    weights = draw(cell, seed, r=1000.0, z=-1000.0)
    rng = np.random.default_rng(seed + 100)
    x, h0 = rng.normal(size=(STEPS, BATCH, INPUT)), rng.normal(size=(BATCH, HIDDEN))
    theirs = run(two, plain(weights) | {"d": weights["d"]}, x, h0)
    assert np.array_equal(run(cell, weights, x, h0).output, theirs.output)
