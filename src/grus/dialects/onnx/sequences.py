"""A batch of rows of different lengths, run as ONNX Runtime runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus import kernels, reference
from grus.equations import Cell
from grus.kernels import UnsupportedCellError
from grus.kernels.backend import backend

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Rows:
    """The output [time, batch, hidden] and the final states by name, each [batch, hidden]."""

    output: Array
    state: dict[str, Array]


def run_rows(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: Mapping[str, Array],
    lengths: Array | None,
    reverse: bool,
) -> Rows:
    """Run ``x`` [time, batch, input]; rows of one length go together.

    A row depends on no other row, so grouping changes no bit of it. Zero past a row's length;
    zero states at length 0.
    """
    steps, batch = x.shape[:2]
    each = np.full(batch, steps) if lengths is None else lengths
    hidden = next(iter(start.values())).shape[1]
    output = np.zeros((steps, batch, hidden), x.dtype)
    state = {name: np.zeros((batch, hidden), x.dtype) for name in cell.states}
    for length in np.unique(each[each > 0]):
        rows = np.flatnonzero(each == length)
        whole = len(rows) == batch
        inside = x[:length] if whole else x[:length, rows]
        first = tuple(np.ascontiguousarray(start[name][rows]) for name in cell.states)
        done, final = _run(cell, weights, inside, first, reverse)
        output[:length, rows] = done
        for name, value in zip(cell.states, final, strict=True):
            state[name][rows] = value
    return Rows(output, state)


def _run(
    cell: Cell, weights: Mapping[str, Array], x: Array, start: tuple[Array, ...], reverse: bool
) -> tuple[Array, tuple[Array, ...]]:
    """By the kernels where they can, else by the reference."""
    if runs_on_kernels(cell):
        result = kernels.run(cell, weights, x, start, reverse=reverse)
        return result.output, result.state
    slow = reference.run(cell, weights, x, start, reverse=reverse)
    return slow.output.astype(x.dtype), tuple(s.astype(x.dtype) for s in slow.state)


def runs_on_kernels(cell: Cell) -> bool:
    """Whether this cell is run by compiled kernels here and now, or by the slow reference."""
    if backend() != "kernels":
        return False
    try:
        kernels.make_plan(cell)
    except UnsupportedCellError:
        return False
    return True
