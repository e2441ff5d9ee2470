"""One step and one sequence against values worked by hand, the arithmetic written out."""

from __future__ import annotations

from math import exp, tanh

import numpy as np
import pytest

from grus.equations import CELLS, Cell
from grus.reference import run

# Each value below comes from at most some thirty operations on numbers near 1, so the two
# orders of summing differ by at most about 30 * 2^-53 = 3e-15.
NEAR = 4e-15


def s(v: float) -> float:
    return 1 / (1 + exp(-v))


def column(*values: float) -> np.ndarray:
    """Three gates of one unit and one feature, stacked as the house stacks them: r, z, n."""
    return np.array(values, dtype=float).reshape(-1, 1)


# One unit, one feature: x = 2, h = -0.5.
W_R, W_Z, W_N = 0.3, -0.4, 0.5
U_R, U_Z, U_N = 0.6, 0.7, -0.8
B_R, B_Z, B_N, D_N = 0.05, -0.15, 0.25, 0.35
R = s(0.3 * 2 + 0.6 * -0.5 + 0.05)
Z = s(-0.4 * 2 + 0.7 * -0.5 - 0.15)
AFTER = tanh(0.5 * 2 + 0.25 + R * (-0.8 * -0.5 + 0.35))
BEFORE = tanh(0.5 * 2 + -0.8 * (R * -0.5) + 0.25)

ONE_UNIT = {
    "gru": Z * -0.5 + (1 - Z) * AFTER,
    "gru_admit": (1 - Z) * -0.5 + Z * AFTER,
    "gru_reset_before": Z * -0.5 + (1 - Z) * BEFORE,
    "gru_reset_before_admit": (1 - Z) * -0.5 + Z * BEFORE,
}


def one_unit_weights(cell: Cell) -> dict[str, np.ndarray]:
    weights = {
        "W": column(W_R, W_Z, W_N),
        "U": column(U_R, U_Z, U_N),
        "b": np.array([B_R, B_Z, B_N]),
    }
    return weights | ({"d": np.array([D_N])} if "d" in cell.families else {})


@pytest.mark.parametrize(("name", "expected"), ONE_UNIT.items(), ids=ONE_UNIT)
def test_one_step_of_one_unit(name: str, expected: float) -> None:
    cell = CELLS[name]
    done = run(cell, one_unit_weights(cell), np.array([[[2.0]]]), np.array([[-0.5]]))
    assert done.output.item() == pytest.approx(expected, abs=NEAR)
    assert done.values[0]["r"].item() == pytest.approx(R, abs=NEAR)
    assert done.values[0]["z"].item() == pytest.approx(Z, abs=NEAR)


def test_the_four_grus_are_four_functions() -> None:
    assert len({round(value, 6) for value in ONE_UNIT.values()}) == 4


# The same for two units and two features, where the order of matrix and vector shows.
X, H = (1.0, -2.0), (0.5, -0.25)
WR, WZ, WN = ((0.1, 0.2), (0.3, 0.4)), ((-0.5, 0.6), (0.7, -0.8)), ((0.9, -0.1), (0.2, 0.3))
UR, UZ, UN = ((0.4, -0.3), (0.2, -0.1)), ((0.5, 0.6), (-0.7, 0.8)), ((-0.9, 0.1), (0.3, 0.7))
BR, BZ, BN, DN = (0.01, 0.02), (0.03, -0.04), (0.05, 0.06), (-0.07, 0.08)
R1 = s(0.1 * 1 + 0.2 * -2 + 0.4 * 0.5 + -0.3 * -0.25 + 0.01)
R2 = s(0.3 * 1 + 0.4 * -2 + 0.2 * 0.5 + -0.1 * -0.25 + 0.02)
Z1 = s(-0.5 * 1 + 0.6 * -2 + 0.5 * 0.5 + 0.6 * -0.25 + 0.03)
Z2 = s(0.7 * 1 + -0.8 * -2 + -0.7 * 0.5 + 0.8 * -0.25 - 0.04)
N1 = tanh(0.9 * 1 + -0.1 * -2 + 0.05 + R1 * (-0.9 * 0.5 + 0.1 * -0.25 - 0.07))
N2 = tanh(0.2 * 1 + 0.3 * -2 + 0.06 + R2 * (0.3 * 0.5 + 0.7 * -0.25 + 0.08))
P1 = tanh(0.9 * 1 + -0.1 * -2 + (-0.9 * (R1 * 0.5) + 0.1 * (R2 * -0.25)) + 0.05)
P2 = tanh(0.2 * 1 + 0.3 * -2 + (0.3 * (R1 * 0.5) + 0.7 * (R2 * -0.25)) + 0.06)
TWO_UNITS = {
    "gru": (Z1 * 0.5 + (1 - Z1) * N1, Z2 * -0.25 + (1 - Z2) * N2),
    "gru_reset_before": (Z1 * 0.5 + (1 - Z1) * P1, Z2 * -0.25 + (1 - Z2) * P2),
}


@pytest.mark.parametrize(("name", "expected"), TWO_UNITS.items(), ids=TWO_UNITS)
def test_one_step_of_two_units(name: str, expected: tuple[float, float]) -> None:
    cell = CELLS[name]
    weights = {
        "W": np.array([*WR, *WZ, *WN]),
        "U": np.array([*UR, *UZ, *UN]),
        "b": np.array([*BR, *BZ, *BN]),
    }
    if "d" in cell.families:
        weights["d"] = np.array(DN)
    done = run(cell, weights, np.array([[X]]), np.array([H]))
    assert done.output[0, 0] == pytest.approx(expected, abs=NEAR)
    assert np.array_equal(done.state[0], done.output[0])


def test_one_step_of_an_lstm() -> None:
    # One unit, one feature: x = 2, h = -0.5, c = 0.75.
    i = s(0.1 * 2 + 0.5 * -0.5 + 0.01)
    f = s(0.2 * 2 + 0.6 * -0.5 + 0.02)
    g = tanh(0.3 * 2 + 0.7 * -0.5 + 0.03)
    o = s(0.4 * 2 + 0.8 * -0.5 + 0.04)
    c = f * 0.75 + i * g
    weights = {
        "W": column(0.1, 0.2, 0.3, 0.4),
        "U": column(0.5, 0.6, 0.7, 0.8),
        "b": np.array([0.01, 0.02, 0.03, 0.04]),
    }
    start = (np.array([[-0.5]]), np.array([[0.75]]))
    done = run(CELLS["lstm"], weights, np.array([[[2.0]]]), start)
    assert done.output.item() == pytest.approx(o * tanh(c), abs=NEAR)
    assert [state.item() for state in done.state] == pytest.approx([o * tanh(c), c], abs=NEAR)


@pytest.mark.parametrize(
    ("name", "expected"), [("rnn", tanh(0.3 * 2 - 0.4)), ("rnn_relu", 0.3 * 2 - 0.4)]
)
def test_one_step_of_a_plain_network(name: str, expected: float) -> None:
    # 0.3 x + 0.6 h - 0.1 at x = 2, h = -0.5
    weights = {"W": column(0.3), "U": column(0.6), "b": np.array([-0.1])}
    done = run(CELLS[name], weights, np.array([[[2.0]]]), np.array([[-0.5]]))
    assert done.output.item() == pytest.approx(expected, abs=NEAR)


def test_relu_is_zero_below_zero() -> None:
    weights = {"W": column(0.3), "U": column(0.6), "b": np.array([-5.0])}
    done = run(CELLS["rnn_relu"], weights, np.array([[[2.0]]]))
    assert done.output.item() == 0


def test_the_case_that_people_post_step_by_step() -> None:
    # Keras prints its kernel in the order z, r, h: one unit, no bias, x = 1, 2, 9, 8.
    (wz, wr, wn), (uz, ur, un) = (
        (-0.90954137, 1.0425225, -0.04404902),
        (0.24168766, 0.8981342, 0.36734456),
    )
    h, states = 0.0, []
    for x in (1, 2, 9, 8):
        z = s(wz * x + uz * h)
        r = s(wr * x + ur * h)
        n = tanh(wn * x + r * (un * h))
        h = z * h + (1 - z) * n
        states.append(h)
    weights = {
        "W": column(wr, wz, wn),
        "U": column(ur, uz, un),
        "b": np.zeros(3),
        "d": np.zeros(1),
    }
    done = run(CELLS["gru"], weights, np.array([1.0, 2, 9, 8]).reshape(4, 1, 1))
    # Errors of four steps add up; each step is a contraction here (|dh'/dh| < 1).
    assert done.output[:, 0, 0] == pytest.approx(states, abs=4 * NEAR)
    assert f"{done.state[0].item():.5f}" == "-0.46280"
