"""A case that was posted: Keras' weights, a prediction that is not theirs, a wrong hand result."""

from __future__ import annotations

import numpy as np
import pytest

from grus.identification import Answer, identify

KERNEL = np.array([[-0.90954137, 1.0425225, -0.04404902]])
RECURRENT = np.array([[0.24168766, 0.8981342, 0.36734456]])
X = [1.0, 2.0, 9.0, 8.0]
CLAIMED, MINE = 0.9680257, -0.70691


@pytest.fixture(scope="module")
def answer() -> Answer:
    named = {"kernel": KERNEL, "recurrent_kernel": RECURRENT, "bias": np.zeros((2, 3))}
    return identify(named, X, CLAIMED, mine=MINE)


def test_no_spelling_gives_the_claimed_output(answer: Answer) -> None:
    assert not answer
    assert answer.matches == answer.undecided == ()
    assert answer.dialects == ()
    assert answer.trials > 800
    near = answer.nearest[0]
    assert near.error > 1e4 * near.tolerance
    assert 0.5e-7 < near.tolerance < 1e-6  # seven decimals, and float32's rounding


def test_keras_gives_another_value(answer: Answer) -> None:
    keras = answer.known[0]
    assert keras.dialects[0] == "keras"  # reset_after=False has one row of biases
    assert keras.y.item() == pytest.approx(-0.46280, abs=0.5e-5)


def test_in_the_order_of_keras_the_state_cannot_be_positive(answer: Answer) -> None:
    proof = answer.known[0].impossible
    assert proof is not None
    assert (proof.y, proof.high) == (CLAIMED, 0)
    assert proof.lines[-1] == "h begins at 0, and each step leaves it so: h <= 0 for ever"


def test_the_posters_own_result_is_the_sequence_fed_as_one_vector(answer: Answer) -> None:
    mine = answer.mine
    assert mine is not None
    (found,) = mine.found
    assert found.slips == ("all of x added up and taken as one step",)
    assert found.base[0] == "keras"
    assert mine.odds < 0.01


def test_zero_biases_and_none_are_the_same(answer: Answer) -> None:
    bare = identify({"kernel": KERNEL, "recurrent_kernel": RECURRENT}, X, CLAIMED, mine=MINE)
    assert bare.nearest[0].error == answer.nearest[0].error
    assert bare.mine is not None
    assert bare.mine.found[0].slips == ("all of x added up and taken as one step",)


def test_with_its_own_output_the_case_is_keras() -> None:
    own = identify([KERNEL, RECURRENT], X, -0.46280, digits=5)
    (match,) = own.matches
    assert {"keras", "keras_reset_before"} <= set(match.dialects)
    assert "keras_2" not in match.dialects
    assert own.elsewhere is not None


def test_the_page_says_all_of_it(answer: Answer) -> None:
    page = str(answer)
    for said in (
        "No dialect explains this example.",
        "-0.46280",
        "can never be positive",
        "h <= 0 for ever",
        "nearest",
        "tolerance",
        "chance",
        "-0.70691: this slip gives just that",
        "all of x added up and taken as one step",
    ):
        assert said in page
    assert max(map(len, page.splitlines())) <= 100
