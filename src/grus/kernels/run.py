"""Sequences on compiled kernels, over NumPy arrays: forward, and backward through time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np

from grus.equations import Cell, Input, Name, State
from grus.errors import InputError
from grus.gradients import Backward, backward as derive
from grus.kernels.call import kernel
from grus.kernels.machine import DType

Array = np.ndarray[Any, np.dtype[Any]]
Matmul = Callable[[Array, Array, Array], None]
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


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


@dataclass(frozen=True)
class Layout:
    """Which values a training call keeps, and where the adjoints of backward stand."""

    derived: Backward
    saved: tuple[str, ...]
    """Kept beside the output, in the order of the saved block."""
    adjoints: tuple[str, ...]
    """Columns of the adjoint block: what weight gradients and dx are products of."""
    sums: tuple[str, ...]


@lru_cache(maxsize=256)
def layout(cell: Cell) -> Layout:
    """The layout of a cell's training call."""
    derived = derive(cell)
    saved = tuple(n for n in derived.saved if n != cell.output)
    wanted = [w for w in derived.weights if w.operand is not None]
    order = {weight: k for k, weight in enumerate(cell.weights)}
    wanted.sort(key=lambda w: order[w.weight])
    names = [w.adjoint for w in wanted] + [name for _, name in derived.dx]
    sums = dict.fromkeys(w.adjoint for w in derived.weights if w.operand is None)
    return Layout(derived, saved, tuple(dict.fromkeys(names)), tuple(sums))


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
    x, weights, start = check(cell, weights, x, h0)
    steps, batch = x.shape[:2]
    hidden = start[0].shape[1]
    output = np.empty((steps, batch, hidden), x.dtype)
    final = tuple(np.empty_like(s) for s in start)
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
    products = _Products(cell, plan, adjoints, matmul or _numpy_matmul)
    return Gradients(
        products.weights(kept, sums, x) if need_weights else {},
        products.x(weights, x) if need_x else None,
        tuple(final[k] for k in order),
    )


def _numpy_matmul(a: Array, b: Array, out: Array) -> None:
    np.matmul(a, b, out=out)


class _Products:
    """The products over all steps and rows: weight gradients and dL/dx."""

    def __init__(self, cell: Cell, plan: Layout, adjoints: Array, matmul: Matmul) -> None:
        self.cell, self.plan, self.matmul = cell, plan, matmul
        self.hidden = adjoints.shape[3]
        self.flat = adjoints.reshape(adjoints.shape[0] * adjoints.shape[1], -1)

    def weights(self, kept: Mapping[str, Array], sums: Array, x: Array) -> dict[str, Array]:
        h = self.hidden
        found: dict[str, Array] = {}
        sizes = {"hidden": h, "input": x.shape[2]}
        flat: dict[str, Array] = {}
        for family in self.cell.families:
            found[family] = np.zeros(self.cell.family_shape(family, sizes), x.dtype)
        for term in self.plan.derived.weights:
            if term.operand is None:
                at = self.cell.families[term.weight.family].index(term.weight.gate) * h
                found[term.weight.family][at : at + h] += sums[self.plan.sums.index(term.adjoint)]
        for weight_rows, columns, operand in self._runs():
            if operand not in flat:
                flat[operand] = kept[operand].reshape(self.flat.shape[0], -1)
            rows = found[weight_rows[0]][weight_rows[1] : weight_rows[2]]
            product = np.empty_like(rows)
            self.matmul(self.flat[:, columns].T, flat[operand], product)
            rows += product
        return found

    def _runs(self) -> list[tuple[tuple[str, int, int], slice, str]]:
        """Terms whose rows and columns both follow on each other are one product."""
        h, cell, plan = self.hidden, self.cell, self.plan
        terms = []
        for term in plan.derived.weights:
            if isinstance(term.operand, (Name, State, Input)):
                row = cell.families[term.weight.family].index(term.weight.gate)
                column = plan.adjoints.index(term.adjoint)
                terms.append((term.weight.family, term.operand.name, row, column))
        merged: list[list[Any]] = []
        for family, operand, row, column in sorted(terms):
            last = merged[-1] if merged else None
            follows = last and last[:2] == [family, operand]
            if last and follows and last[3] == row and last[5] == column:
                last[3], last[5] = row + 1, column + 1
            else:
                merged.append([family, operand, row, row + 1, column, column + 1])
        return [((f, r0 * h, r1 * h), slice(c0 * h, c1 * h), o) for f, o, r0, r1, c0, c1 in merged]

    def x(self, weights: Mapping[str, Array], x: Array) -> Array:
        h = self.hidden
        total = np.zeros((self.flat.shape[0], x.shape[2]), x.dtype)
        terms = sorted(self.plan.derived.dx, key=lambda term: self.plan.adjoints.index(term[1]))
        runs: list[list[Any]] = []
        for weight, name in terms:
            column = self.plan.adjoints.index(name)
            if weight is None:
                total += self.flat[:, column * h : (column + 1) * h]
                continue
            row = self.cell.families[weight.family].index(weight.gate)
            last = runs[-1] if runs else None
            if last and last[0] == weight.family and (last[2], last[4]) == (row, column):
                last[2], last[4] = row + 1, column + 1
            else:
                runs.append([weight.family, row, row + 1, column, column + 1])
        for k, (family, r0, r1, c0, c1) in enumerate(runs):
            product = total if k == 0 and len(runs) == len(terms) == 0 else np.empty_like(total)
            self.matmul(self.flat[:, c0 * h : c1 * h], weights[family][r0 * h : r1 * h], product)
            total = product if k == 0 and not total.any() else total + product
        return total.reshape(x.shape)


def _dtype(x: Array) -> DType:
    return cast("DType", x.dtype.name)


def check(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None,
) -> tuple[Array, dict[str, Array], tuple[Array, ...]]:
    """Arguments as the kernels take them: right shapes, one dtype, last axis contiguous.

    Copies only what is strided along its last axis. Raises InputError naming the argument.
    """
    x = _array("x", x, None, 3)
    if set(weights) != set(cell.families):
        raise InputError(
            f"weights must hold the families {sorted(cell.families)}, got {sorted(weights)}"
        )
    hidden = _hidden(cell, weights)
    sizes = {"input": x.shape[2], "hidden": hidden}
    if min(x.shape[2], hidden) < 1:
        raise InputError(f"input and hidden must be at least 1, got {x.shape[2]} and {hidden}")
    for one, other in cell.shapes.equal:
        if sizes[one] != sizes[other]:
            raise InputError(
                f"cell {cell.name} needs {one} = {other}, got {sizes[one]} and {sizes[other]}"
            )
    checked = {
        family: _array(f"weights[{family!r}]", weights[family], x.dtype,
                       shape=cell.family_shape(family, sizes))
        for family in cell.families
    }  # fmt: skip
    shape = (x.shape[1], hidden)
    if h0 is None:
        return x, checked, tuple(np.zeros(shape, x.dtype) for _ in cell.states)
    given = h0 if isinstance(h0, tuple) else (h0,)
    if len(given) != len(cell.states):
        raise InputError(f"h0 must hold {len(cell.states)} states {cell.states}, got {len(given)}")
    names = [f"h0 of state {s}" if len(given) > 1 else "h0" for s in cell.states]
    start = tuple(_array(n, a, x.dtype, shape=shape) for n, a in zip(names, given, strict=True))
    return x, checked, start


def _hidden(cell: Cell, weights: Mapping[str, Array]) -> int:
    family, gates = next(iter(cell.families.items()))
    shape = np.shape(weights[family])
    if not shape or shape[0] % len(gates):
        raise InputError(
            f"weights[{family!r}] must stack {len(gates)} gates, got shape {tuple(shape)}"
        )
    return int(shape[0]) // len(gates)


def _array(
    name: str,
    value: Array,
    dtype: np.dtype[Any] | None,
    ndim: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> Array:
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} must be a NumPy array, got {type(value).__name__}")
    if value.dtype not in (DTYPES if dtype is None else (dtype,)):
        want = "float32 or float64" if dtype is None else f"{dtype} like x"
        raise InputError(f"{name} must be {want}, got {value.dtype}")
    if ndim is not None and value.ndim != ndim:
        raise InputError(f"{name} must be [time, batch, input], got shape {value.shape}")
    if shape is not None and value.shape != shape:
        raise InputError(f"{name} must have shape {shape}, got {value.shape}")
    if value.shape[-1] > 1 and value.strides[-1] != value.itemsize:
        return np.ascontiguousarray(value)
    return value
