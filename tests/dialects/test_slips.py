"""The table of slips, and the explanation of one's own wrong result by one of them or two."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from grus.dialects import find
from grus.equations import CELLS
from grus.identification import identify
from grus.mistakes import Calculation
from grus.mistakes.mistake import slips
from grus.reference import run

RNG = np.random.default_rng(20)
WEIGHTS = {
    "kernel": RNG.normal(size=(1, 3)).round(4),
    "recurrent_kernel": RNG.normal(size=(1, 3)).round(4),
    "bias": RNG.normal(size=(2, 3)).round(4),
}
X, H0 = np.array([0.5, -1.0, 2.0]), np.array([0.3])
RIGHT = find("keras").read(WEIGHTS)
Y = RIGHT.run(X.reshape(3, 1, 1), H0.reshape(1, 1, 1)).output[:, 0, 0]
CALCULATION = Calculation.of(RIGHT.cell, RIGHT.layers[0][0], X[:, None], (H0,))
SINGLE = [(slip.name, CALCULATION.wrong(slip)) for _, slip in slips(CALCULATION)]


def explained(value: float, digits: int = 7) -> set[tuple[str, ...]]:
    answer = identify(WEIGHTS, X, Y, H0, mine=round(value, digits), mine_digits=digits)
    assert answer.mine is not None
    return {one.slips for one in answer.mine.found}


def test_the_slips_that_people_make_are_in_the_table() -> None:
    labels = {label for label, _ in SINGLE}
    assert {
        "the reset before the product",
        "z the other way round: (1 - z) * h + z * n",
        "tanh left out of n",
        "sigmoid left out of z",
        "sigmoid left out of every gate",
        "hard_sigmoid(0.2, 0.5) for sigmoid in every gate",
        "the last x alone: the state not carried from step to step",
        "all of x added up and taken as one step",
        "the sequence runs backward",
        "h0 ignored",
    } <= labels
    assert len(labels) == len(SINGLE)


@pytest.mark.parametrize("label", [label for label, _ in SINGLE])
def test_each_slip_is_found_by_the_value_it_gives(label: str) -> None:
    value = float(dict(SINGLE)[label].final()[0])
    same = {other for other, made in SINGLE if abs(made.final()[0] - value) < 1e-12}
    assert {(one,) for one in same} <= explained(value)


def test_slips_of_reading_the_weights_are_found_too() -> None:
    keras = WEIGHTS["bias"]
    cases = {
        "gates read in the order r, z, n (": {
            name: array[:, [1, 0, 2]] for name, array in WEIGHTS.items()
        },
        "input biases ignored": WEIGHTS | {"bias": keras * [[0], [1]]},
        "recurrent biases ignored": WEIGHTS | {"bias": keras * [[1], [0]]},
    }
    for label, wrong in cases.items():
        final = find("keras").read(wrong).run(X.reshape(3, 1, 1), H0.reshape(1, 1, 1)).state[0]
        found = explained(float(final[0, 0, 0]))
        assert any(one[0].startswith(label) for one in found if len(one) == 1), (label, found)


def test_two_slips_together_are_found_where_one_does_not_do() -> None:
    before, chunk = CELLS["gru_reset_before_admit"], RIGHT.layers[0][0]
    weights = {"W": chunk["W"], "U": chunk["U"], "b": chunk["b"].copy()}
    weights["b"][2] += chunk["d"][0]
    value = float(run(before, weights, X.reshape(3, 1, 1), H0[None]).state[0][0, 0])
    found = explained(value)
    assert {len(slips) for slips in found} == {2}
    assert frozenset(
        ("the reset before the product", "z the other way round: (1 - z) * h + z * n")
    ) in {frozenset(slips) for slips in found}


def test_the_right_value_needs_no_slip() -> None:
    assert explained(float(Y[-1])) == {()}


def test_a_value_that_no_slip_gives_is_explained_by_none() -> None:
    values = [float(made.final()[0]) for _, made in SINGLE]
    gaps = [abs(a - b) for a, b in combinations(values, 2)]
    assert max(gaps) > 0.1
    assert explained(0.123456789012, 12) == set()


def test_the_digits_decide_what_gives_the_value() -> None:
    label = "the reset before the product"
    value = float(dict(SINGLE)[label].final()[0])
    assert (label,) in explained(value, 5)
    moved = round(value, 5) + 2e-5
    assert (label,) not in explained(moved, 5)


def test_a_calculation_without_slips_is_that_of_the_reference() -> None:
    np.testing.assert_allclose(CALCULATION.final(), Y[-1:], rtol=0, atol=1e-15)
