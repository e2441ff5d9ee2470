"""One pass over a sequence, forward or backward: arrays go to a program, gradients come back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np

from grus.equations import Cell
from grus.kernels.arrays import Order, call
from grus.kernels.call import kernel
from grus.kernels.frame import Sizes
from grus.kernels.layout import axis_sizes, layout, views
from grus.kernels.machine import DType
from grus.kernels.memory import lasting
from grus.kernels.plan import UnsupportedCellError
from grus.kernels.pool import at_once
from grus.kernels.products import Products, recipe, vectors
from grus.kernels.rows import Packing, begins
from grus.kernels.slots import Variant
from grus.kernels.split import row_shares
from grus.kernels.steps import Steps

Array = np.ndarray[Any, np.dtype[Any]]
States = tuple[Array, ...]


@dataclass(frozen=True)
class Gradients:
    """dL/d(weights by family), dL/dx (None unless asked for), dL/dh0 per state."""

    weights: dict[str, Array]
    x: Array | None
    h0: States


def forward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: States,
    output: Array,
    final: States,
    saved: Array | None,
    steps: Steps,
    threads: int | None,
    base: States,
) -> None:
    """`run.forward` in one pass; resets go back to ``base``."""
    axes = axis_sizes(cell, weights, start)
    kept = {} if saved is None else views(cell, saved, x.shape, axes, steps)
    store(cell, weights, x, start, {cell.output: output, **kept}, final, steps, threads, base)
    if steps.lengths is not None:
        for row in np.flatnonzero(steps.lengths < len(x)):
            output[steps.lengths[row] :, row] = 0


def store(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: States,
    into: Mapping[str, Array],
    final: States,
    steps: Steps,
    threads: int | None,
    base: States,
) -> None:
    """Run forward; the program itself writes the values named in ``into`` there, step by step.

    Arrays are [time, batch, axis], or with lengths [valid steps, axis], any strides but along the
    last axis. Nothing is written past a row's end. A state's own name is the state as a step finds
    it. Arguments are already checked; resets go back to ``base``.
    """
    going = _Going(steps, x.shape)
    program = kernel(cell, _dtype(x), tuple(into), variant=going.variant("copy"))
    axes = axis_sizes(cell, weights, start)
    sizes = going.sizes(x, axes)
    for name in program.plan.step_inputs:
        if name != "x":
            raise UnsupportedCellError(
                f"cell {cell.name}: the kernels take no mask per step yet ({name})"
            )
    count = row_shares(program.work_of(program.sizes(sizes)), threads)

    def share(first: int, end: int, most: int | None) -> None:
        rows = slice(first, end)
        own = going if end - first == going.batch else going.rows(first, end)
        arrays = {f"out.{n}": going.share(a, first, end) for n, a in into.items()}
        arrays |= {"x": x[:, rows], "in.x": x[:, rows]}
        back = tuple(b[rows] for b in base)
        order = own.order(backwards=steps.reverse, ahead=1, base=back)
        begin = own.first(tuple(s[rows] for s in start), back)
        ends = tuple(f[rows] for f in final)
        sizes = own.sizes(x, axes)
        call(program, cell, sizes, weights, arrays, begin, ends, order, most)

    if count == 1:
        share(0, going.batch, threads)
    else:
        at_once([partial(share, *ends, 1) for ends in pairwise(going.cuts(count))])


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
    """`run.backward` in one pass, and dL/dh0 of all resets to h0 (nothing without them)."""
    plan = layout(cell)
    cell_back = plan.derived.cell
    axes = axis_sizes(cell, weights, dfinal)
    going = _Going(steps, x.shape)
    kept = views(cell, saved, x.shape, axes, steps) | {cell.output: output, "x": x}
    variant = going.variant("collect")
    program = kernel(cell_back, _dtype(x), plan.adjoints, plan.sums, cell, variant)
    shape = (*going.lead, plan.columns(axes))
    adjoints = lasting(math.prod(shape), x.dtype).reshape(shape)
    arrays = {f"in.{n}": dy if n == "dy" else kept[n] for n in program.plan.step_inputs}
    for name in plan.adjoints:
        at, length = plan.place(name, axes)
        arrays[f"out.{name}"] = adjoints[..., at : at + length]
    places = [cell_back.states.index(f"d{s}") for s in cell.states]
    start = tuple(dfinal[places.index(k)] for k in range(len(places)))
    final = tuple(np.empty(s.shape, x.dtype) for s in start)
    base = tuple(np.zeros(s.shape, x.dtype) for s in start) if going.copies else ()
    order = going.order(backwards=not steps.reverse, ahead=0, base=base)
    sizes = going.sizes(x, axes)
    sums = call(program, cell, sizes, weights, arrays, start, final, order, threads)
    how = recipe(cell, tuple(axes.items()))
    flat = adjoints.reshape(-1, adjoints.shape[-1])
    products = Products(how, flat, threads)
    found = Gradients(
        vectors(how, sums) | products.matrices(going.packed(kept)) if need_weights else {},
        going.unpacked(products.x(weights, x.shape[2])) if need_x else None,
        tuple(final[k] for k in places),
    )
    return found, tuple(base[k] for k in places if base)


class _Going:
    """How one call goes through its steps; what changes nothing is left out."""

    def __init__(self, steps: Steps, sizes: tuple[int, ...], row: int = 0) -> None:
        self.time, self.batch = sizes[:2]
        self.row = row
        self.packing = None if steps.lengths is None else Packing(steps.lengths)
        self.steps, resets = steps, steps.resets
        self.resets = resets if resets is not None and resets.any() else None
        self.copies = self.resets is not None and steps.reset_to == "h0"
        self.reverse = steps.reverse
        self.seed, self.start = steps.seed or 0, steps.first
        self.narrow = steps.narrow

    def rows(self, first: int, end: int) -> _Going:
        """The same of some rows by themselves, with the same program."""
        steps, resets = self.steps, self.resets
        lengths = None if steps.lengths is None else steps.lengths[first:end]
        own = _Going(replace(steps, lengths=lengths, resets=None), (self.time, end - first), first)
        own.resets, own.copies = None if resets is None else resets[:, first:end], self.copies
        return own

    def share(self, array: Array, first: int, end: int) -> Array:
        """Those rows of an array of [time, batch, axis], or with lengths [valid steps, axis]."""
        if array.ndim == 3 or self.packing is None:
            return array[:, first:end]
        places = [*self.packing.first, len(array)]
        return array[places[first] : places[end]]

    def cuts(self, count: int) -> list[int]:
        """The rows between which shares of about as many steps each end."""
        steps = np.cumsum(np.full(self.batch, self.time) if self.packing is None
                          else self.packing.lengths)  # fmt: skip
        ends = np.searchsorted(steps, steps[-1] * np.arange(1, count) / count) + 1
        return sorted({0, *ends.tolist(), self.batch})

    @property
    def lead(self) -> tuple[int, ...]:
        """The axes of what a training call keeps, before the hidden one."""
        return (len(self.packing.places[0]),) if self.packing else (self.time, self.batch)

    def variant(self, copies: Literal["copy", "collect"]) -> Variant:
        """The program's variant; ``copies`` where states are put back to h0."""
        clear: Literal["", "zero", "copy", "collect"] = "zero" if self.resets is not None else ""
        return Variant(self.packing is not None, copies if self.copies else clear, self.narrow)

    def sizes(self, x: Array, axes: Mapping[str, int]) -> Sizes:
        """T (of the longest row), B, I, H and the projection."""
        time = int(self.packing.lengths.max(initial=0)) if self.packing else self.time
        return time, self.batch, x.shape[2], axes["hidden"], axes.get("projection", 0)

    def order(self, *, backwards: bool, ahead: int, base: States) -> Order:
        """The order of the steps."""
        return Order(
            self.packing,
            backwards,
            self.resets,
            ahead,
            base if self.copies else (),
            self.seed,
            self.start,
            self.row,
        )

    def first(self, start: States, base: States) -> States:
        """The states at the first step: put back where it is a reset."""
        if self.resets is None or not self.time:
            return start
        if not self.packing:
            cleared = begins(self.resets, backwards=self.reverse)
        else:
            lengths = self.packing.lengths
            at = np.maximum(lengths - 1, 0) if self.reverse else np.zeros_like(lengths)
            cleared = self.resets[at, np.arange(self.batch)] & (lengths > 0)
        back = base if self.copies else tuple(s.dtype.type(0) for s in start)
        return tuple(np.where(cleared[:, None], b, s) for b, s in zip(back, start, strict=True))

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
