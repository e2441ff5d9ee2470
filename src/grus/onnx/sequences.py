"""A batch of rows of different lengths, run as ONNX Runtime runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus import reference, runtime
from grus.equations import Cell
from grus.kernels import UnsupportedCellError, make_plan
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
    """Run ``x`` [time, batch, input]: by the kernels where they can, else by the reference.

    Zero past a row's length; a row of length 0 ends with zeros, not with its initial state.
    """
    first = tuple(start[name] for name in cell.states)
    if runs_on_kernels(cell):
        fast = runtime.run(cell, weights, x, first, lengths=lengths, reverse=reverse)
        output, final = fast.output, fast.state
    else:
        slow = reference.run(cell, weights, x, first, lengths=lengths, reverse=reverse)
        output = slow.output.astype(x.dtype)
        final = tuple(state.astype(x.dtype) for state in slow.state)
    ran = np.full(x.shape[1], len(x)) > 0 if lengths is None else lengths > 0
    states = (np.where(ran[:, None], state, x.dtype.type(0)) for state in final)
    return Rows(output, dict(zip(cell.states, states, strict=True)))


def runs_on_kernels(cell: Cell) -> bool:
    """Whether this cell is run by compiled kernels here and now, or by the slow reference."""
    if backend() != "kernels":
        return False
    try:
        make_plan(cell)
    except UnsupportedCellError:
        return False
    return True
