"""How a loss reaches the states of every step: the adjoints that backward hands down, written by
the backward kernel itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grus.equations import Cell, expected
from grus.errors import InputError
from grus.kernels.layout import axis_sizes, layout, output_size, saved_size
from grus.kernels.memory import address, give
from grus.kernels.plan import make_plan
from grus.kernels.steps import PLAIN
from grus.runtime.arguments import check, check_threads
from grus.runtime.arrays import backwards, buffers, forward
from grus.runtime.backward_calls import Adjoint
from grus.runtime.buffer import Buffer, array

Array = np.ndarray[Any, np.dtype[Any]]


def adjoints(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None,
    dy: Array,
    *,
    threads: int | None = None,
) -> tuple[dict[str, Array], Array]:
    """dL/d(each state after each step) [time, batch, axis] by state, and dL/dx.

    ``dy`` [time, batch, size of the output] is dL/d(output) at each step, in the dtype of ``x``;
    the other arguments are `run`'s. A state's adjoint is total: what this step's output hands it
    and what all later steps do. Masks that the cell draws are their means.

    Raises InputError naming the argument that cannot be.
    """
    cell = expected(cell)
    make_plan(cell)
    x, weights, start = check(cell, weights, x, h0)
    check_threads(threads)
    shape = (*x.shape[:2], output_size(cell, weights, start))
    if not isinstance(dy, np.ndarray) or dy.shape != shape or dy.dtype != x.dtype:
        raise InputError(f"dy must be {x.dtype} of shape {shape}, got {_said(dy)}")
    axes, plan = axis_sizes(cell, weights, start), layout(cell)
    output, saved = np.empty(shape, x.dtype), np.empty(saved_size(cell, x.shape, axes), x.dtype)
    final = tuple(map(np.empty_like, start))
    forward(cell, weights, x, start, output, final, saved, threads=threads)
    own = {s: f"d_{s}" for s in cell.states}
    into = {
        name: np.empty((*x.shape[:2], axes[cell.shapes.states[state]]), x.dtype)
        for state, name in own.items()
        if name not in plan.adjoints
    }
    given = (np.ascontiguousarray(dy), *map(np.zeros_like, start))
    tensors = (x, *start, *(weights[family] for family in cell.families))
    needs = (True, *[True] * len(start), *[False] * len(cell.families))
    call = Adjoint(PLAIN, needs, Buffer(output), Buffer(saved), buffers(given), buffers(tensors))
    laid = backwards(cell, x.dtype.name).lay(call, into={n: Buffer(a) for n, a in into.items()})
    laid.run(laid.buffers, 0, laid.results, threads)
    first = laid.buffers[4] - address(laid.adjoints)
    block = laid.adjoints[first : first + x.itemsize * x.shape[0] * x.shape[1] * plan.columns(axes)]
    flat = block.view(x.dtype).reshape(*x.shape[:2], plan.columns(axes))
    for name in own.values():
        if name not in into:
            at, size = plan.place(name, axes)
            into[name] = flat[..., at : at + size].copy()
    give(laid.adjoints)
    return {state: into[name] for state, name in own.items()}, array(laid.gradients[0])


def _said(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__
