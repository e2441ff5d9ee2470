"""Training that keeps little: the states at a few steps, and everything between them run again.

The sequence is cut into windows of about sqrt(T) steps. Forward keeps the states where windows
begin; backward runs each window forward again, from the same states to the same bits, and then
backward. What is kept shrinks from a few values of every step to the windows' first states and one
window's values; the price is a second forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.kernels import passes
from grus.kernels.layout import axis_sizes, saved_size
from grus.kernels.passes import Gradients, States
from grus.kernels.steps import Steps, part, windows

Array = np.ndarray[Any, np.dtype[Any]]


def forward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: States,
    output: Array,
    final: States,
    saved: Array,
    steps: Steps,
    threads: int | None,
) -> None:
    """`run.forward`, keeping only the states where windows begin."""
    parts = windows(steps, len(x))
    kept = _states(saved, len(parts), start)
    state = start
    for k, (first, end) in enumerate(parts):
        for place, value in zip(kept[k], state, strict=True):
            place[...] = value
        after = final if k == len(parts) - 1 else tuple(map(np.empty_like, final))
        passes.forward(
            cell,
            weights,
            x[first:end],
            state,
            output[first:end],
            after,
            None,
            part(steps, first, end),
            threads,
            start,
        )
        state = after
    if not parts:
        for whole, value in zip(final, start, strict=True):
            whole[...] = value


def backward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    output: Array,
    saved: Array,
    dy: Array,
    dfinal: States,
    steps: Steps,
    need_x: bool,
    need_weights: bool,
    threads: int | None,
) -> tuple[Gradients, States]:
    """`passes.backward`, window by window, each run forward once more."""
    parts = windows(steps, len(x))
    kept = _states(saved, len(parts), dfinal)
    axes = axis_sizes(cell, weights, dfinal)
    total = {f: np.zeros_like(w) for f, w in weights.items()} if need_weights else {}
    dx = np.zeros(x.shape, x.dtype) if need_x else None
    dbase = tuple(np.zeros_like(d) for d in dfinal)
    for k in reversed(range(len(parts))):
        first, end = parts[k]
        inner, state = part(steps, first, end), kept[k]
        size = saved_size(cell, (end - first, *x.shape[1:]), axes, inner)
        values = np.empty(size, x.dtype)
        again = np.empty((end - first, *output.shape[1:]), x.dtype)
        passes.forward(
            cell,
            weights,
            x[first:end],
            state,
            again,
            tuple(map(np.empty_like, state)),
            values,
            inner,
            threads,
            kept[0],
        )
        found, base = passes.backward(
            cell,
            weights,
            x[first:end],
            again,
            values,
            dy[first:end],
            dfinal,
            inner,
            need_x,
            need_weights,
            threads,
        )
        dfinal = found.h0
        for family, gradient in found.weights.items():
            total[family] += gradient
        if dx is not None and found.x is not None:
            dx[first:end] = found.x
        if base:
            dbase = tuple(d + b for d, b in zip(dbase, base, strict=True))
    return Gradients(total, dx, dfinal), dbase


def _states(saved: Array, parts: int, like: States) -> list[States]:
    """The kept states of each window, as views."""
    ends = np.cumsum([s.size for s in like])[:-1]
    rows = saved.reshape(parts, sum(s.size for s in like))
    return [
        tuple(piece.reshape(s.shape) for piece, s in zip(np.split(row, ends), like, strict=True))
        for row in rows
    ]
