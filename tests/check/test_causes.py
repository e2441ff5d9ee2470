"""What is wrong with somebody's GRU is found by the numbers, and called by its name."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from looped_gru import MISTAKES, make

from grus.check import Answer, Backend, Case, Judge, answer, cases, check, failed, report
from grus.check.causes import Response, bound, off_by
from grus.dialects.activation import activated
from grus.equations import CELLS, Cell, CellError, text
from grus.mistakes import Mistake
from grus.mistakes.cell_changes import late_reset, reset_of_all
from grus.mistakes.every_mistake import forward_mistakes

GRU = CELLS["gru"]
VECTORS = cases(GRU)
EVERY = forward_mistakes(GRU)
Array = np.ndarray


def causes(judge: Judge) -> set[str]:
    return {cause.name for cause in judge.causes.values()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_gru_passes_every_case(dtype: str) -> None:
    judge = check(GRU, Backend(make(), dtype=dtype))
    assert [row.forward.status for row in judge.rows()] == ["ok"] * len(VECTORS)
    assert not failed(judge)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_called_by_its_name(name: str) -> None:
    judge = check(GRU, Backend(make(name)))
    assert causes(judge) == {name}
    assert failed(judge)
    assert f"Likely cause: {name}." in " ".join(report(judge).split())


@pytest.fixture(scope="module")
def shared() -> dict[tuple[str, str], Answer]:
    """What every mistake answers to every case, once."""
    return {(h.name, c.name): h.run(GRU, c) for h in EVERY for c in VECTORS}


@pytest.fixture(scope="module")
def truth() -> dict[str, Answer]:
    """What a judge compares with, worked out once."""
    return Judge(GRU, "float32", tuple(map(Response, VECTORS))).truth


@pytest.mark.parametrize("mistake", EVERY, ids=lambda h: h.name)
def test_no_mistake_is_taken_for_another(mistake: Mistake, shared: dict, truth: dict) -> None:
    given = tuple(Response(c, shared[mistake.name, c.name]) for c in VECTORS)
    judge = Judge(GRU, "float32", given, _cache=shared)
    judge.truth = truth
    assert causes(judge) == {mistake.name}


@pytest.mark.parametrize("mistake", EVERY, ids=lambda h: h.name)
def test_every_mistake_is_seen_far_above_rounding(
    mistake: Mistake, shared: dict, truth: dict
) -> None:
    """By some case at least fifty times what float32 may lose there."""
    most = 0.0
    for case in VECTORS:
        right, wrong = truth[case.name], shared[mistake.name, case.name]
        off = max(off_by(right.output, wrong.output), off_by(right.h_n, wrong.h_n))
        limit = bound(case, "float32", max(np.abs(right.output).max(), np.abs(right.h_n).max()))
        most = max(most, np.inf if np.isnan(off) else off / limit)
    assert most > 50


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gates read in the order z, r, n", "h0 ignored"),
        ("inner bias ignored", "z the other way round: (1 - z) * h + z * n"),
    ],
)
def test_two_mistakes_at_once_are_found(one: str, other: str) -> None:
    first, second = (next(h for h in EVERY if h.name == name) for name in (one, other))
    case = next(c for c in VECTORS if c.name == "biases")
    given = Response(case, (first & second).run(GRU, case))
    (cause,) = causes(Judge(GRU, "float32", (given,)))
    assert set(cause.split(", and ")) == {one, other}


def test_what_no_mistake_explains_is_called_unknown() -> None:
    case = next(c for c in VECTORS if c.name == "biases")
    right = answer(GRU, case)
    noise = np.random.default_rng(1).normal(0, 0.1, right.output.shape)
    judge = Judge(GRU, "float32", (Response(case, Answer(right.output + noise, right.h_n)),))
    assert judge.causes == {}
    (row,) = judge.rows()
    tried = f"unknown: {len(EVERY)} mistakes tried, singly and in pairs; nearest"
    assert row.forward.cause.startswith(tried)


def test_pairs_are_claimed_only_for_the_rows_that_they_were_tried_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grus.check.causes.SEARCHED", 2)
    rng = np.random.default_rng(1)
    given = []
    for case in VECTORS[:4]:
        right = answer(GRU, case)
        given.append(
            Response(case, Answer(right.output + rng.normal(size=right.output.shape), right.h_n))
        )
    given[0] = Response(VECTORS[0], Answer(given[0].answer.output * np.nan, given[0].answer.h_n))
    causes = [row.forward.cause for row in Judge(GRU, "float32", tuple(given)).rows()]
    assert [", singly and in pairs;" in cause for cause in causes] == [
        False,
        True,
        False,
        False,
    ]
    assert all(", singly" in cause for cause in causes)


RELU = activated(GRU, candidate="relu")
RESET = {
    "after": (GRU, "tanh(r * (W.n @ x + b.n + m))"),
    "before": (CELLS["gru_reset_before"], "tanh(r * (W.n @ x + U.n @ h + b.n))"),
    "relu": (RELU, "relu(r * (W.n @ x + b.n + m))"),
    "late": (late_reset(GRU), "tanh(q * (W.n @ x + b.n + m))"),
}


@pytest.mark.parametrize(("cell", "candidate"), RESET.values(), ids=RESET)
def test_the_reset_gate_of_the_whole_candidate_is_found_in_any_cell(
    cell: Cell, candidate: str
) -> None:
    changed = reset_of_all(cell)
    assert text.show(changed["n"]) == candidate
    assert [n for n, e in changed if e != cell[n]] == ["n"]


def test_a_mistake_that_changes_nothing_is_refused_and_not_tried() -> None:
    twice = Mistake("whole", cell=reset_of_all) & Mistake("none", cell=lambda cell: cell)
    for nothing in (Mistake("none", cell=lambda cell: cell), twice):
        assert not nothing.applies(GRU)
        with pytest.raises(CellError, match="the mistake changes no equation"):
            nothing.changed(GRU)
    assert all(h.applies(GRU) for h in EVERY)
    assert {h.name for h in EVERY if not h.applies(RELU)} == {
        "tanh left out of n",
        *(f"{other} for tanh in n" for other in ("relu", "sigmoid", "softsign")),
    }


def test_every_pair_of_mistakes_of_the_equations_has_both() -> None:
    ones = [h for h in EVERY if h.cell]
    for one, other in combinations(ones, 2):
        both = one & other
        try:
            changed = both.changed(GRU)
        except CellError:
            continue  # two changes of one equation need not be a cell together
        assert changed not in (GRU, one.changed(GRU))


def test_nan_is_a_failure() -> None:
    case = VECTORS[1]
    right = answer(GRU, case)
    judge = Judge(GRU, "float32", (Response(case, Answer(right.output * np.nan, right.h_n)),))
    assert failed(judge)


def test_what_a_backend_lacks_is_no_failure() -> None:
    def small(x, weights, h0=None):
        return make()(x, weights, h0)

    def honest(x, weights, h0=None, **options):
        if "resets" in options:
            raise NotImplementedError("no resets")
        return make()(x, weights, h0, **options)

    judge = check(GRU, Backend(small))
    assert not failed(judge)
    status = {row.case.name: row.forward.status for row in judge.rows()}
    assert (status["biases"], status["two layers"]) == ("ok", "not offered")
    status = {row.case.name: row.forward.status for row in check(GRU, Backend(honest)).rows()}
    assert (status["lengths"], status["resets"]) == ("ok", "not offered")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda x, weights, h0: x, "wanted (output, h_n)"),
        (lambda x, weights, h0: (x, x), "output has shape"),
        (lambda x, weights, h0: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_what_is_no_answer_is_said(given, said: str) -> None:
    judge = check(GRU, Backend(given))
    assert failed(judge)
    assert said in " ".join(report(judge).split())


def test_a_backend_cannot_change_what_others_are_asked() -> None:
    def vandal(x, weights, h0=None):
        answered = make()(x, weights, h0)
        x[...] = 0
        for w in weights.values():
            w[...] = 0
        return answered

    assert not failed(check(GRU, Backend(vandal)))


@pytest.mark.parametrize("name", ["gru_admit", "gru_reset_before", "gru_reset_before_admit"])
def test_other_grus_are_asked_for_as_well(name: str) -> None:
    cell = CELLS[name]

    def right(x: Array, weights: dict, h0: Array | None = None, **options: object) -> object:
        case = Case("", "", x, weights, h0, **options)
        found = answer(cell, case)
        return found.output, found.h_n

    assert not failed(check(cell, Backend(right)))
    swap = next(h for h in EVERY if h.name == "gates read in the order z, r, n")
    given = tuple(Response(c, swap.run(cell, c)) for c in cases(cell))
    assert causes(Judge(cell, "float32", given)) == {swap.name}


def test_before_and_after_differ_measurably() -> None:
    """On every case: the two equations are never told apart by luck."""
    other = CELLS["gru_reset_before"]
    for case in VECTORS:
        one, two = (answer(cell, case) for cell in (GRU, other))
        limit = bound(case, "float32", float(np.abs(one.h_n).max()))
        assert off_by(one.h_n, two.h_n) > 50 * limit, case.name


@pytest.mark.parametrize("cell", [CELLS["gru"], CELLS["gru_reset_before"]], ids=lambda c: c.name)
def test_the_vectors_are_the_same_for_the_same_seed(cell: Cell) -> None:
    one, two, three = cases(cell), cases(cell), cases(cell, seed=1)
    assert all(np.array_equal(a.x, b.x, equal_nan=True) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0].x, three[0].x)
