"""The forward guarantee, bit for bit, and what backward promises.

A row's result does not depend on the other rows, the batch size, the number of threads, what
follows in the sequence, or on whether the sequence is run whole, in chunks or step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agreement import draw, train
from bits import (
    WrongBitsError,
    batches,
    check_cuts,
    check_rows,
    forward,
    gradients,
    parts,
    rows,
    same,
)
from cells import ALL_CELLS
from grus.kernels import program, split, threads
from grus.kernels.split import Split
from grus.runtime import prepared

CELLS = ("gru", "gru_reset_before", "lstm", "rnn_relu", "sru")
each = pytest.mark.parametrize("name", CELLS)
both = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> list[Split]:
    """Notes how each call was split, and lets a call have four threads whatever the machine has."""
    if not threads.openmp():
        pytest.skip("no OpenMP runtime: there is one thread")
    seen: list[Split] = []
    right = split.choose

    def choose(work: split.Work, most: int | None) -> Split:
        seen.append(right(work, most))
        return seen[-1]

    monkeypatch.setattr(prepared, "choose", choose)
    monkeypatch.setattr(threads, "limit", lambda: 4)
    monkeypatch.setattr(split, "WAKE", 0.0)
    return seen


@both
@each
def test_a_row_does_not_depend_on_the_rows_around_it(name: str, dtype: str) -> None:
    check_rows(draw(ALL_CELLS[name], (5, 20, 7, 37), dtype))


@both
@each
def test_a_row_does_not_depend_on_what_other_rows_hold(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (4, 9, 7, 21), dtype)
    whole = forward(problem)
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        for row in (0, 4, 8):
            others = [k for k in range(9) if k != row]
            x, start = problem.x.copy(), tuple(s.copy() for s in problem.start)
            for array in (x[0], *start):
                array[others] = bad
            found = forward(replace(problem, x=x, start=start))
            same(f"row {row} among {bad}", parts(found, [row]), parts(whole, [row]))


@both
@each
def test_it_does_not_matter_where_a_sequence_is_cut(name: str, dtype: str) -> None:
    for sizes in ((9, 3, 7, 37), (9, 1, 3, 16), (9, 8, 3, 5)):
        problem = draw(ALL_CELLS[name], sizes, dtype)
        for cuts in ([4], [1, 2], [3, 3, 8], list(range(1, 9))):
            check_cuts(problem, cuts)


@both
@each
def test_steps_that_follow_do_not_change_what_came_before(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (9, 3, 7, 37), dtype)
    x = problem.x.copy()
    x[5:] = np.nan
    found = forward(replace(problem, x=x))
    same("steps before", [found.output[:5]], [forward(problem).output[:5]])


@both
@each
def test_how_many_steps_are_computed_ahead_does_not_matter(
    name: str, dtype: str, chunks: Callable[[int], None]
) -> None:
    problems = [draw(ALL_CELLS[name], (29, batch, 7, 37), dtype) for batch in (1, 3, 8, 11)]
    wholes = [forward(p) for p in problems]
    for size in (1, 3_000, 20_000):
        chunks(size)
        for problem, whole in zip(problems, wholes, strict=True):
            same(f"chunks of {size} bytes", parts(forward(problem)), parts(whole))


@both
@each
def test_reverse_is_the_reversed_sequence(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (9, 3, 7, 37), dtype)
    turned = forward(replace(problem, x=np.ascontiguousarray(problem.x[::-1])))
    found = forward(problem, reverse=True)
    same("reverse", [found.output, *found.state], [turned.output[::-1], *turned.state])


@both
@each
def test_keeping_values_for_backward_does_not_change_the_result(name: str, dtype: str) -> None:
    problem = draw(ALL_CELLS[name], (6, 5, 7, 37), dtype)
    run = train(problem)
    same("training", [run.output, *run.final], parts(forward(problem)))


@both
@each
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_splitting_rows_over_threads_does_not_matter(
    name: str, dtype: str, count: int, splits: list[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "forced", "rows")
    problem = draw(ALL_CELLS[name], (5, 19, 7, 37), dtype)
    whole = forward(problem)
    found = forward(problem, threads=count)
    same(f"{count} threads", parts(found), parts(whole))
    assert splits[-1] == Split(count, by_hidden=False)


@both
@pytest.mark.parametrize("name", [name for name in CELLS if name != "sru"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_splitting_hidden_units_over_threads_does_not_matter(
    name: str, dtype: str, count: int, splits: list[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "forced", "hidden")
    for batch in range(1, 8):
        problem = draw(ALL_CELLS[name], (7, batch, 5, 67), dtype)
        whole = forward(problem)
        # Many runs: a missing barrier shows only now and then.
        for _ in range(5):
            found = forward(problem, threads=count)
            same(f"{count} threads, {batch} rows", parts(found), parts(whole))
            assert splits[-1] == Split(count, True)


@both
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7])
def test_large_calls_are_split_by_hidden_units_by_themselves(dtype: str, batch: int) -> None:
    problem = draw(ALL_CELLS["gru"], (12, batch, 5, 160), dtype)
    whole = forward(problem)
    same("two threads", parts(forward(problem, threads=2)), parts(whole))
    same("as many as there are", parts(forward(problem, threads=None)), parts(whole))
    check_cuts(problem, [1, 5], threads=2)


@both
@pytest.mark.parametrize("way", ["rows", "hidden"])
def test_rows_and_cuts_do_not_matter_with_threads_either(
    dtype: str, way: Any, splits: list[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = draw(ALL_CELLS["gru_reset_before"], (5, 13, 7, 37), dtype)
    whole = forward(problem)
    monkeypatch.setattr(split, "forced", way)
    for chosen in batches(13):
        found = forward(rows(problem, chosen), threads=3)
        same(f"rows {chosen}", parts(found), parts(whole, chosen))
    check_cuts(problem, [2, 3], threads=4)
    assert {s.by_hidden for s in splits if s.threads > 1} == {way == "hidden"}


def test_a_missing_barrier_is_seen(
    splits: list[Split], recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without barriers each thread runs ahead: even on one processor the bits are wrong at once."""
    monkeypatch.setattr(program, "guarded", lambda plan, at: False)
    monkeypatch.setattr(split, "forced", "hidden")
    problem = draw(ALL_CELLS["gru"], (400, 1, 5, 67), "float32")
    whole = forward(problem)
    found = [array for _ in range(50) for array in parts(forward(problem, threads=4))]
    with pytest.raises(WrongBitsError):
        same("four threads", found, 50 * parts(whole))


@both
@each
@pytest.mark.parametrize("count", [1, 2, 3])
def test_backward_is_deterministic_at_a_fixed_number_of_threads(
    name: str, dtype: str, count: int, splits: list[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "forced", "hidden")
    for batch in (2, 19):
        problem = draw(ALL_CELLS[name], (5, batch, 7, 37), dtype)
        first = gradients(problem, count)
        for _ in range(4):
            same("gradients", gradients(problem, count), first)
    assert max(s.threads for s in splits) == count


@both
@each
def test_rows_of_dx_and_dh0_do_not_depend_on_threads(
    name: str, dtype: str, splits: list[Split]
) -> None:
    problem = draw(ALL_CELLS[name], (5, 19, 7, 37), dtype)
    states = len(problem.start)
    one, three = gradients(problem, 1), gradients(problem, 3)
    same("dh0", three[-states:], one[-states:])
