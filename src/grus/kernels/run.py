"""Sequences on compiled kernels, over NumPy arrays: forward, and backward through time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from grus.equations import Cell
from grus.kernels.arguments import check, check_steps, check_threads
from grus.kernels.call import Order, kernel
from grus.kernels.layout import layout, views
from grus.kernels.machine import DType
from grus.kernels.plan import UnsupportedCellError, make_plan
from grus.kernels.products import Matmul, Products, numpy_matmul
from grus.kernels.rows import Packing
from grus.kernels.slots import Variant
from grus.kernels.steps import PLAIN, Steps

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
    lengths: Array | None = None,
    resets: Array | None = None,
    reset_to: Literal["zero", "h0"] = "zero",
    reverse: bool = False,
    threads: int | None = None,
) -> Result:
    """Run a cell over ``x`` [time, batch, input] in the dtype of ``x`` (float32 or float64).

    ``weights`` maps families to stacked arrays, as `reference.run` takes them; ``h0`` defaults to
    zeros. ``lengths`` [batch], 0 allowed, any order: outputs past a row's end are 0, its final
    state is the one at its last valid step, and what stands in the padding is never read.
    ``resets`` [time, batch], bool or 0 and 1: this step begins with the state at zero, or at h0
    with ``reset_to="h0"``. ``reverse`` goes from each row's last valid step to the first, results
    in time order. An empty sequence gives back h0. A row's result does not depend, bit for bit,
    on the other rows, on their number, on padding, on the threads, or on where the sequence is
    cut.

    Raises InputError naming the argument whose shape, dtype or values cannot be.
    """
    make_plan(cell)  # what the kernels cannot run is said before anything else
    x, weights, start = check(cell, weights, x, h0)
    check_threads(threads)
    steps = check_steps(lengths, resets, reset_to, x.shape[:2], reverse=reverse)
    output = np.empty((*x.shape[:2], start[0].shape[1]), x.dtype)
    final = tuple(np.empty(s.shape, x.dtype) for s in start)
    forward(cell, weights, x, start, output, final, steps=steps, threads=threads)
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
    steps: Steps = PLAIN,
    threads: int | None = None,
) -> None:
    """Run into ``output`` and ``final``; with ``saved`` (`saved_size` numbers) keep what
    `backward` needs. Arguments are already checked; ``output`` is zeroed past a row's end."""
    sizes = (x.shape[0], x.shape[1], start[0].shape[1])
    kept = {} if saved is None else views(cell, saved, sizes, steps)
    going = _Going(steps, sizes)
    program = kernel(cell, _dtype(x), (cell.output, *kept), variant=going.variant("copy"))
    for name in program.plan.step_inputs:
        if name != "x":
            raise UnsupportedCellError(
                f"cell {cell.name}: the kernels take no mask per step yet ({name})"
            )
    arrays = {"x": x, f"out.{cell.output}": output}
    arrays |= {f"out.{name}": array for name, array in kept.items()}
    if "x" in program.plan.step_inputs:
        arrays["in.x"] = x
    order = going.order(backwards=steps.reverse, ahead=1, base=start)
    program(going.sizes(x, sizes), weights, arrays, going.first(start), final, threads, order)
    if going.packing:
        for row in np.flatnonzero(going.packing.lengths < sizes[0]):
            output[going.packing.lengths[row] :, row] = 0


def backward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    output: Array,
    saved: Array,
    dy: Array,
    dfinal: tuple[Array, ...],
    *,
    steps: Steps = PLAIN,
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
    sizes = output.shape
    going = _Going(steps, sizes)
    kept = views(cell, saved, sizes, steps) | {cell.output: output, "x": x}
    program = kernel(cell_back, _dtype(x), plan.adjoints, plan.sums, cell, going.variant("collect"))
    adjoints = np.empty((*going.lead, len(plan.adjoints), sizes[2]), x.dtype)
    arrays = {f"in.{n}": dy if n == "dy" else kept[n] for n in program.plan.step_inputs}
    arrays |= {f"out.{n}": adjoints[..., k, :] for k, n in enumerate(plan.adjoints)}
    places = [cell_back.states.index(f"d{s}") for s in cell.states]
    start = tuple(dfinal[places.index(k)] for k in range(len(places)))
    final = tuple(np.empty(sizes[1:], x.dtype) for _ in start)
    base = tuple(np.zeros(sizes[1:], x.dtype) for _ in start) if going.collects else ()
    order = going.order(backwards=not steps.reverse, ahead=0, base=base)
    sums = program(going.sizes(x, sizes), weights, arrays, start, final, threads, order)
    if going.collects:
        final = tuple(f + b for f, b in zip(final, base, strict=True))
    products = Products(cell, plan, adjoints, matmul or numpy_matmul)
    return Gradients(
        products.weights(going.packed(kept), sums, weights) if need_weights else {},
        going.unpacked(products.x(weights, x.shape[2])) if need_x else None,
        tuple(final[k] for k in places),
    )


class _Going:
    """How one call goes through its steps; what changes nothing is left out."""

    def __init__(self, steps: Steps, sizes: tuple[int, ...]) -> None:
        self.time, self.batch = sizes[:2]
        self.packing = None if steps.lengths is None else Packing(steps.lengths)
        resets = steps.resets
        self.resets = resets if resets is not None and resets.any() else None
        self.copies = self.resets is not None and steps.reset_to == "h0"
        self.reverse = steps.reverse
        self.collects = self.copies

    @property
    def lead(self) -> tuple[int, ...]:
        """The axes of what a training call keeps, before the hidden one."""
        return (len(self.packing.places[0]),) if self.packing else (self.time, self.batch)

    def variant(self, copies: Literal["copy", "collect"]) -> Variant:
        """The program's variant; ``copies`` where states are put back to h0."""
        clear: Literal["", "zero", "copy", "collect"] = "zero" if self.resets is not None else ""
        return Variant(self.packing is not None, copies if self.copies else clear)

    def sizes(self, x: Array, sizes: tuple[int, ...]) -> tuple[int, int, int, int]:
        """T (of the longest row), B, I, H."""
        time = int(self.packing.lengths.max(initial=0)) if self.packing else self.time
        return time, self.batch, x.shape[2], sizes[2]

    def order(self, *, backwards: bool, ahead: int, base: tuple[Array, ...]) -> Order:
        """The order of the steps."""
        return Order(self.packing, backwards, self.resets, ahead, base if self.copies else ())

    def first(self, start: tuple[Array, ...]) -> tuple[Array, ...]:
        """The states at the first step: put to zero where it is a reset."""
        if self.resets is None or self.copies or not self.time:
            return start
        if not self.packing:
            cleared = self.resets[-1 if self.reverse else 0]
        else:
            lengths = self.packing.lengths
            at = np.maximum(lengths - 1, 0) if self.reverse else np.zeros_like(lengths)
            cleared = self.resets[at, np.arange(self.batch)] & (lengths > 0)
        return tuple(np.where(cleared[:, None], s.dtype.type(0), s) for s in start)

    def packed(self, kept: Mapping[str, Array]) -> dict[str, Array]:
        """What products read, without padding."""
        pack = self.packing
        return {n: a if pack is None or a.ndim == 2 else pack.pack(a) for n, a in kept.items()}

    def unpacked(self, dx: Array) -> Array:
        """[steps, input] as [time, batch, input]."""
        if self.packing:
            return self.packing.unpack(dx, self.time)
        return dx.reshape(self.time, self.batch, dx.shape[1])


def _dtype(x: Array) -> DType:
    return cast("DType", x.dtype.name)
