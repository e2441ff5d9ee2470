"""Sequences on compiled kernels, over NumPy arrays: forward, and backward through time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from grus.equations import Cell
from grus.kernels.arguments import check, check_threads
from grus.kernels.call import kernel
from grus.kernels.layout import layout
from grus.kernels.machine import DType
from grus.kernels.plan import UnsupportedCellError, make_plan
from grus.kernels.products import Matmul, Products, numpy_matmul

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Result:
    """The output [time, batch, hidden] and the final states, each [batch, hidden]."""

    output: Array
    state: tuple[Array, ...]


@dataclass(frozen=True)
class Gradients:
    """dL/d(weights by family), dL/dx (None unless asked for), dL/dh0 per state."""

    weights: dict[str, Array]
    x: Array | None
    h0: tuple[Array, ...]


def run(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> Result:
    """Run a cell over ``x`` [time, batch, input] in the dtype of ``x`` (float32 or float64).

    ``weights`` maps families to stacked arrays, as `reference.run` takes them; ``h0`` defaults to
    zeros. ``reverse`` goes from the last step to the first, results in time order. An empty
    sequence gives back h0. A row's result does not depend, bit for bit, on the other rows, on
    the threads, or on where the sequence is cut.

    Raises InputError naming the argument whose shape or dtype cannot be.
    """
    make_plan(cell)  # what the kernels cannot run is said before anything else
    x, weights, start = check(cell, weights, x, h0)
    check_threads(threads)
    steps, batch = x.shape[:2]
    hidden = start[0].shape[1]
    output = np.empty((steps, batch, hidden), x.dtype)
    final = tuple(np.empty(s.shape, x.dtype) for s in start)
    forward(cell, weights, x, start, output, final, reverse=reverse, threads=threads)
    return Result(output, final)


def forward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: tuple[Array, ...],
    output: Array,
    final: tuple[Array, ...],
    saved: Array | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> None:
    """Run into ``output`` and ``final``; with ``saved`` [names, time, batch, hidden] keep what
    `backward` needs (names as in `layout`). Arguments are already checked."""
    names = layout(cell).saved if saved is not None else ()
    program = kernel(cell, _dtype(x), (cell.output, *names))
    for name in program.plan.step_inputs:
        if name != "x":
            raise UnsupportedCellError(
                f"cell {cell.name}: the kernels take no mask per step yet ({name})"
            )
    arrays = {"x": x, f"out.{cell.output}": output}
    if saved is not None:
        arrays |= {f"out.{name}": saved[k] for k, name in enumerate(names)}
    if "x" in program.plan.step_inputs:
        arrays["in.x"] = x
    if reverse:
        arrays = {name: array[::-1] for name, array in arrays.items()}
    sizes = (x.shape[0], x.shape[1], x.shape[2], start[0].shape[1])
    program(sizes, weights, arrays, start, final, threads)


def backward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    output: Array,
    saved: Array,
    dy: Array,
    dfinal: tuple[Array, ...],
    *,
    need_x: bool = True,
    need_weights: bool = True,
    matmul: Matmul | None = None,
    threads: int | None = None,
) -> Gradients:
    """Backpropagate through the sequence that `forward` ran with these arguments.

    ``dy`` [time, batch, hidden] is dL/d(output), ``dfinal`` dL/d(final states). The long products
    over time and batch are handed to ``matmul(a, b, out)``, NumPy's by default.
    """
    plan = layout(cell)
    cell_back = plan.derived.cell
    steps, batch, inputs = x.shape
    hidden = output.shape[2]
    adjoints = np.empty((steps, batch, len(plan.adjoints), hidden), x.dtype)
    kept = {name: saved[k] for k, name in enumerate(plan.saved)} | {cell.output: output, "x": x}
    program = kernel(cell_back, _dtype(x), plan.adjoints, plan.sums, cell)
    arrays = {f"in.{n}": dy if n == "dy" else kept[n] for n in program.plan.step_inputs}
    arrays |= {f"out.{n}": adjoints[:, :, k] for k, n in enumerate(plan.adjoints)}
    arrays = {name: array[::-1] for name, array in arrays.items()}
    order = [cell_back.states.index(f"d{s}") for s in cell.states]
    start = tuple(dfinal[order.index(k)] for k in range(len(order)))
    final = tuple(np.empty((batch, hidden), x.dtype) for _ in start)
    sums = program((steps, batch, inputs, hidden), weights, arrays, start, final, threads)
    products = Products(cell, plan, adjoints, matmul or numpy_matmul)
    return Gradients(
        products.weights(kept, sums, weights) if need_weights else {},
        products.x(weights, x.shape) if need_x else None,
        tuple(final[k] for k in order),
    )


def _dtype(x: Array) -> DType:
    return cast("DType", x.dtype.name)
