"""How a loss reaches the states of every step: the adjoints that backward hands down, written by
the backward kernel itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grus.equations import Cell, expected
from grus.errors import InputError
from grus.kernels.arguments import check, check_threads
from grus.kernels.arrays import Order, call
from grus.kernels.call import kernel
from grus.kernels.layout import axis_sizes, layout, output_size, saved_size, views
from grus.kernels.machine import DType
from grus.kernels.plan import make_plan
from grus.kernels.products import Products, recipe
from grus.kernels.run import forward
from grus.kernels.slots import Variant

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
    kept = views(cell, saved, x.shape, axes) | {cell.output: output, "x": x}
    own = {s: f"d_{s}" for s in cell.states}
    stores = tuple(dict.fromkeys((*plan.adjoints, *own.values())))
    dtype: DType = "float64" if x.dtype == np.float64 else "float32"
    program = kernel(plan.derived.cell, dtype, stores, plan.sums, cell, Variant())
    flat = np.empty((*x.shape[:2], plan.columns(axes)), x.dtype)
    into = {}
    for name in plan.adjoints:
        at, size = plan.place(name, axes)
        into[name] = flat[..., at : at + size]
    for state, name in own.items():
        if name not in into:
            into[name] = np.empty((*x.shape[:2], axes[cell.shapes.states[state]]), x.dtype)
    arrays = {f"in.{n}": np.ascontiguousarray(dy) if n == "dy" else kept[n]
              for n in program.plan.step_inputs}  # fmt: skip
    arrays |= {f"out.{name}": array for name, array in into.items()}
    order = [plan.derived.cell.states.index(f"d{s}") for s in cell.states]
    zeros = [np.zeros(start[order.index(k)].shape, x.dtype) for k in range(len(order))]
    ends = tuple(map(np.empty_like, zeros))
    sizes = (*x.shape, axes["hidden"], axes.get("projection", 0))
    call(program, cell, sizes, weights, arrays, tuple(zeros), ends, Order(backwards=True), threads)
    rows = flat.reshape(x.shape[0] * x.shape[1], flat.shape[-1])
    how = recipe(cell, tuple(axes.items()))
    products = Products(how, rows, threads)
    dx = products.x(weights, x.shape[2]).reshape(x.shape)
    return {state: into[name] for state, name in own.items()}, dx


def _said(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__
