"""Gradients of somebody's GRU: right ones pass, wrong ones are explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from looped_gru import make

from grus.check import Backend, Case, cases, check, failed
from grus.check.cases import again
from grus.check.causes import Judge, Response
from grus.equations import CELLS
from grus.mistakes import Mistake
from grus.mistakes.every_mistake import forward_mistakes, gradient_mistakes
from grus.mistakes.right_answer import answer, gradients

GRU = CELLS["gru"]
VECTORS = cases(GRU)


def differences(case: Case) -> dict[str, np.ndarray]:
    """The gradients by central differences of the reference, in float64."""
    eps = 2.0**-17

    def loss(changed: Case) -> float:
        found = answer(GRU, changed)
        return float(np.sum(case.dy * found.output) + np.sum(case.dh_n * found.h_n))

    def slope(array: np.ndarray, place: Any) -> np.ndarray:
        found = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            moved = [array.copy(), array.copy()]
            moved[0][at] += eps
            moved[1][at] -= eps
            found[at] = (loss(place(moved[0])) - loss(place(moved[1]))) / (2 * eps)
        return found

    def weights(name: str) -> Any:
        return lambda w: again(case, "", "", weights={**case.weights, name: w})

    found = {"x": slope(np.nan_to_num(case.x), lambda x: again(case, "", "", x=x))}
    if case.h0 is not None:
        found["h0"] = slope(case.h0, lambda h: again(case, "", "", h0=h))
    return found | {name: slope(w, weights(name)) for name, w in case.weights.items()}


TRIED = ["biases", "two directions", "lengths, two directions", "left padding", "resets", "zoneout"]


@pytest.mark.parametrize("name", TRIED)
def test_the_right_gradients_are_the_slopes(name: str) -> None:
    case = next(c for c in VECTORS if c.name == name)
    right = gradients(GRU, case)
    for key, slope in differences(case).items():
        # Central differences: eps squared times a third derivative, and 2**-53 / eps lost.
        np.testing.assert_allclose(right[key], slope, rtol=0, atol=1e-8, err_msg=f"{name} {key}")


def theirs(change: Any = lambda found: found) -> Any:
    def function(x, weights, h0, dy, dh_n, **options):
        case = Case("", "", x, weights, h0, dy=dy, dh_n=dh_n, **options)
        return change(gradients(GRU, case))

    return function


def test_right_gradients_pass() -> None:
    judge = check(GRU, Backend(make(), theirs()))
    status = {row.case.name: row.gradients.status for row in judge.rows()}
    assert status.pop("step by step") == "not offered"
    assert set(status.values()) == {"ok"}


@pytest.mark.parametrize("mistake", list(gradient_mistakes()), ids=lambda one: one.name[:30])
def test_a_wrong_gradient_is_explained(mistake: Mistake) -> None:
    found = []
    for case in VECTORS:
        given = Response(case, answer(GRU, case), gradients=mistake.gradients(GRU, case))
        (row,) = Judge(GRU, "float32", (given,)).rows()
        assert row.forward.status == "ok"
        found += [row.gradients.cause] if row.gradients.status == "fails" else []
    assert mistake.name in found
    assert "unknown" not in found


def test_a_wrong_forward_run_explains_its_gradients() -> None:
    """Gradients of a run without the inner bias are no second mistake."""

    def forgetful(x, weights, h0, dy, dh_n, **options):
        kept = {n: w.copy() for n, w in weights.items()}
        inner = [n for n in kept if n.startswith("bias_hh")]
        for n in inner:
            kept[n][2 * len(kept[n]) // 3 :] = 0
        found = theirs()(x, kept, h0, dy, dh_n, **options)
        for n in inner:
            found[n][2 * len(found[n]) // 3 :] = 0
        return found

    judge = check(GRU, Backend(make("inner bias ignored"), forgetful))
    wrong = [row.gradients.cause for row in judge.rows() if row.gradients.status == "fails"]
    assert len(wrong) > 5
    assert set(wrong) == {"the forward run's: inner bias ignored"}


def test_what_no_mistake_explains_is_unknown() -> None:
    def noisy(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**found, "weight_hh_l0": found["weight_hh_l0"] + 0.3}

    judge = check(GRU, Backend(make(), theirs(noisy)))
    rows = [row.gradients for row in judge.rows() if row.gradients.status == "fails"]
    assert rows
    assert {(part.cause, part.reason) for part in rows} == {("unknown", "weight_hh_l0")}


def test_a_missing_gradient_is_said() -> None:
    judge = check(GRU, Backend(make(), lambda *given, **options: {"x": given[0]}))
    assert failed(judge)
    assert any(row.gradients.reason.startswith("no gradient of") for row in judge.rows())


def test_the_derivative_causes_have_names_of_their_own() -> None:
    names = [one.name for one in (*gradient_mistakes(), *forward_mistakes(GRU))]
    assert len(set(names)) == len(names)
