"""Bit for bit: what a row's result must not depend on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from agreement import Problem, train
from grus import runtime
from grus.runtime import Result

Array = np.ndarray


class WrongBitsError(AssertionError):
    """A row whose bits depend on something that is not its own."""


def forward(problem: Problem, *, reverse: bool = False, threads: int | None = 1) -> Result:
    """The inference call."""
    p = problem
    return runtime.run(p.cell, p.weights, p.x, p.start, reverse=reverse, threads=threads)


def gradients(problem: Problem, threads: int | None) -> list[Array]:
    """A training call and its backward call with NumPy's products: weights, x, initial states."""
    p, run = problem, train(problem, threads=1)
    dy, dfinal = np.ones_like(run.output), tuple(np.ones_like(s) for s in run.final)
    found = runtime.backward(
        p.cell, p.weights, p.x, run.output, run.saved, dy, dfinal, threads=threads
    )
    assert found.x is not None
    return [*found.weights.values(), found.x, *found.h0]


def rows(problem: Problem, chosen: slice | list[int]) -> Problem:
    """The problem of some rows of the batch only."""
    start = tuple(np.ascontiguousarray(s[chosen]) for s in problem.start)
    return replace(problem, x=np.ascontiguousarray(problem.x[:, chosen]), start=start)


def same(what: str, found: Iterable[Array], want: Iterable[Array]) -> None:
    """Raise WrongBitsError where two lists of arrays differ in any bit."""
    for one, other in zip(found, want, strict=True):
        if one.shape != other.shape or one.tobytes() != other.tobytes():
            raise WrongBitsError(what)


def parts(result: Result, chosen: slice | list[int] = slice(None)) -> list[Array]:
    """All arrays of a result, for some rows of the batch."""
    return [result.output[:, chosen], *(s[chosen] for s in result.state)]


def batches(size: int) -> Iterator[slice]:
    """Rows from the front and from the back, of every count."""
    for count in range(1, size + 1):
        yield slice(0, count)
        yield slice(size - count, size)


def check_rows(problem: Problem, threads: int | None = 1) -> None:
    """Raise WrongBitsError where a row's result depends on the rows around it."""
    whole = forward(problem)
    for chosen in batches(problem.x.shape[1]):
        alone = forward(rows(problem, chosen), threads=threads)
        same(f"rows {chosen.start} to {chosen.stop} alone", parts(alone), parts(whole, chosen))


def check_cuts(problem: Problem, cuts: list[int], threads: int | None = 1) -> None:
    """Raise WrongBitsError where it matters that a sequence is cut before these steps."""
    whole = forward(problem)
    state, outputs = problem.start, []
    for first, last in zip([0, *cuts], [*cuts, len(problem.x)], strict=True):
        piece = replace(problem, x=problem.x[first:last], start=state)
        done = forward(piece, threads=threads)
        outputs.append(done.output)
        state = done.state
    same(f"cut at {cuts}", [np.concatenate(outputs), *state], parts(whole))
