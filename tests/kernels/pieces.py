"""Lengths, resets and direction by hand: every row alone, cut at its resets, pieces run densely.

What a sequence with lengths and resets means, from sequences that have neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from agreement import Problem, train
from grus import runtime
from grus.kernels import Steps
from grus.runtime import Result

Array = np.ndarray


def pieces(steps: Steps, length: int, row: int) -> Iterator[tuple[Array, bool]]:
    """The times of each piece of a row, in the order in which they are taken; and whether the
    piece begins with a reset."""
    times = np.arange(length)[::-1] if steps.reverse else np.arange(length)
    resets = np.zeros(length, bool)
    if steps.resets is not None:
        resets = steps.resets[times, row]
    cuts = [0, *(np.flatnonzero(resets[1:]) + 1), length]
    for first, last in pairwise(cuts):
        if last > first:
            yield times[first:last], bool(resets[first])


def lengths(problem: Problem, steps: Steps) -> Array:
    """The length of each row."""
    time, batch = problem.x.shape[:2]
    return np.full(batch, time) if steps.lengths is None else steps.lengths


def forward(problem: Problem, steps: Steps) -> Result:
    """The result of `runtime.run` with these steps, row by row and piece by piece."""
    p = problem
    output = np.zeros((*p.x.shape[:2], p.hidden), p.dtype)
    final = tuple(s.copy() for s in p.start)
    for row, length in enumerate(lengths(p, steps)):
        own = tuple(s[row : row + 1] for s in p.start)
        state = own
        for times, fresh in pieces(steps, length, row):
            if fresh:
                state = own if steps.reset_to == "h0" else tuple(map(np.zeros_like, own))
            done = runtime.run(p.cell, p.weights, p.x[times, row : row + 1], state, threads=1)
            output[times, row], state = done.output[:, 0], done.state
        for whole, mine in zip(final, state, strict=True):
            whole[row] = mine[0]
    return Result(output, final)


def backward(
    problem: Problem, steps: Steps, dy: Array, dfinal: tuple[Array, ...]
) -> dict[str, Array]:
    """Gradients by name, summed over all pieces: families, x, and each state's initial value."""
    p = problem
    found = {family: np.zeros_like(w) for family, w in p.weights.items()}
    found |= {"x": np.zeros_like(p.x)}
    found |= {f"h0 {s}": np.zeros_like(d) for s, d in zip(p.cell.states, dfinal, strict=True)}
    for row, length in enumerate(lengths(p, steps)):
        dstate = tuple(d[row : row + 1] for d in dfinal)
        own = tuple(s[row : row + 1] for s in p.start)
        runs, state = [], own
        for times, fresh in pieces(steps, length, row):
            if fresh:
                state = own if steps.reset_to == "h0" else tuple(map(np.zeros_like, own))
            piece = replace(p, x=p.x[times, row : row + 1], start=state)
            run = train(piece)
            runs.append((times, fresh, piece, run))
            state = run.final
        for times, fresh, piece, run in reversed(runs):
            part = runtime.backward(
                p.cell, p.weights, piece.x, run.output, run.saved, dy[times, row : row + 1], dstate
            )
            for family, gradient in part.weights.items():
                found[family] += gradient
            assert part.x is not None
            found["x"][times, row] = part.x[:, 0]
            dstate = part.h0
            if fresh:
                if steps.reset_to == "h0":
                    _add(p, found, row, dstate)
                dstate = tuple(map(np.zeros_like, dstate))
        _add(p, found, row, dstate)
    return found


def _add(p: Problem, found: dict[str, Array], row: int, dstate: tuple[Array, ...]) -> None:
    for state, gradient in zip(p.cell.states, dstate, strict=True):
        found[f"h0 {state}"][row] += gradient[0]
