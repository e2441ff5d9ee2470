"""Calling compiled programs over NumPy arrays: sizes, buffers, the argument block."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.kernels import threads
from grus.kernels.frame import ALIGN, Frame, Sizes, lay_out
from grus.kernels.ir import Target
from grus.kernels.machine import DType
from grus.kernels.plan import Plan, make_plan
from grus.kernels.program import Program
from grus.kernels.rows import Packing, Rows, flags
from grus.kernels.slots import DENSE, Variant, groups
from grus.kernels.split import Split

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK_BYTES = 256 * 1024
"""Products with x computed ahead of the time loop: what stays in half of a 512 KiB L2."""

compiling = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A fork waits for a compilation under way: the child would inherit a lock that nobody opens.
    os.register_at_fork(
        before=compiling.acquire,
        after_in_parent=compiling.release,
        after_in_child=compiling.release,
    )


@dataclass(frozen=True, eq=False)
class Order:
    """In which order a program takes the steps, and after which it puts the states back.

    ``resets`` are [time, batch] bool; the flag of a step is the reset of the step ``ahead`` of it
    in the program's own order. ``base`` holds what the states are put back to, or collects.
    """

    packing: Packing | None = None
    backwards: bool = False
    resets: Array | None = None
    ahead: int = 0
    base: tuple[Array, ...] = ()


IN_TIME = Order()


class Kernel:
    """A compiled program with what is needed to fill its argument block."""

    def __init__(
        self,
        cell: Cell,
        target: Target,
        stores: tuple[str, ...],
        sums: tuple[str, ...],
        stacked_as: Cell,
        variant: Variant = DENSE,
    ) -> None:
        from grus.kernels.jit import Compiled

        self.target, self.sums, self.variant = target, sums, variant
        self.plan: Plan = make_plan(cell)
        runtime = threads.openmp()
        program = Program(self.plan, target, stores, sums, openmp=bool(runtime), variant=variant)
        self.names = program.slots.names
        self.at = {name: k for k, name in enumerate(self.names)}
        self.products = sum(len(members) for _, members in groups(self.plan))
        # A plan names its axes after its own output: the caller's names are those of its cell.
        prefix = "d" if cell is not stacked_as else ""
        theirs = {f"{prefix}{s}": axis for s, axis in stacked_as.shapes.states.items()}
        ours = self.plan.cell.shapes.states
        self.swapped = any(theirs[s] != axis for s, axis in ours.items())
        self.compiled = Compiled(program.text(), runtime)
        self.block = ctypes.c_int64 * len(self.names)
        self.dtype = np.dtype(target.dtype)
        self.states = [self.at[f"{part}.{s}"] for part in ("h0", "hn") for s in cell.states]
        bases = [f"base.{s}" for s in cell.states]
        self.bases = tuple(self.at[name] for name in bases if name in self.at)
        self.gates = tuple(
            (family, len(stacked_as.families[family]), self._places(family, gates, stacked_as))
            for family, gates in self.plan.cell.families.items()
        )
        self.frame = lru_cache(maxsize=64)(self._frame)

    def _places(
        self, family: str, gates: tuple[str, ...], stacked_as: Cell
    ) -> tuple[tuple[int, int], ...]:
        """(slot, place in the stack) of each gate; a stride's slot follows its array's."""
        stack = stacked_as.families[family]
        return tuple((self.at[f"w.{family}.{gate}"], stack.index(gate)) for gate in gates)

    def _frame(self, sizes: Sizes, split: Split, ahead: int) -> tuple[Frame, list[int], list[int]]:
        """A frame, the block with its constants and offsets, and the slots that are offsets."""
        kept = (split.threads, split.by_hidden)
        frame = lay_out(self.plan, self.target, len(self.sums), sizes, kept, ahead)
        given = frame.constants | frame.offsets
        return frame, [given.get(n, 0) for n in self.names], [self.at[n] for n in frame.offsets]

    def __call__(
        self,
        sizes: Sizes,
        weights: Mapping[str, Array],
        arrays: Mapping[str, Array],
        start: tuple[Array, ...],
        final: tuple[Array, ...],
        most_threads: int | None = None,
        order: Order = IN_TIME,
    ) -> Array:
        """Run over stacked ``weights`` by family; ``arrays`` maps slot names to arrays of
        [time, batch, axis], any strides but along the last axis, or where rows have lengths
        [valid steps, axis]. ``sizes`` go by the axes of the cell in whose order the weights are.
        Gives the sums, a row a name, each padded beyond its axis."""
        steps, batch, inputs, hidden, projection = sizes
        if self.swapped:
            hidden, projection = projection, hidden
            sizes = (steps, batch, inputs, hidden, projection)
        tiles = -(-hidden // self.target.lanes)
        with Split.choose(self.products, steps, batch, hidden, tiles, most_threads) as split:
            frame, template, offsets = self.frame(sizes, split, CHUNK_BYTES)
            block = template.copy()
            memory = np.empty(frame.bytes + ALIGN, np.uint8)
            skip = -memory.ctypes.data % ALIGN
            memory[skip : skip + frame.zeroed] = 0
            base = memory.ctypes.data + skip
            for slot in offsets:
                block[slot] += base
            self._fill(block, weights)
            if order.packing:
                rows = Rows.deal(order.packing, split.slices)
                self._run_ragged(block, rows, arrays, start, final, order)
            else:
                self._run_dense(block, arrays, start, final, order)
        if not self.sums:
            return np.empty((0, max(hidden, projection)), self.dtype)
        first = skip + frame.sums
        size = math.prod(frame.shape) * self.target.item
        sums = memory[first : first + size].view(self.dtype).reshape(frame.shape)
        total: Array = sums.sum(axis=0)
        return total

    def _fill(self, block: list[int], weights: Mapping[str, Array]) -> None:
        """Put the weights' addresses and strides into the block."""
        for family, count, places in self.gates:
            stacked = weights[family]
            first, stride = stacked.ctypes.data, stacked.strides[0]
            gate = stacked.shape[0] // count * stride
            for slot, place in places:
                block[slot], block[slot + 1] = first + place * gate, stride

    def _run_dense(
        self,
        block: list[int],
        arrays: Mapping[str, Array],
        start: tuple[Array, ...],
        final: tuple[Array, ...],
        order: Order,
    ) -> None:
        for name, array in arrays.items():
            if name == "x" and name not in self.at:
                continue  # a cell without a product with x
            slot, taken = self.at[name], array[::-1] if order.backwards else array
            block[slot] = taken.ctypes.data
            block[slot + 1], block[slot + 2] = taken.strides[:2]
        found = None
        if order.resets is not None:
            steps, batch = order.resets.shape
            lengths = np.full(batch, steps)
            found = flags(order.resets, lengths, backwards=order.backwards, ahead=order.ahead)
            block[self.at["clear"]] = found.ctypes.data
        self._run(block, start, final, order.base)

    def _run_ragged(
        self,
        block: list[int],
        rows: Rows,
        arrays: Mapping[str, Array],
        start: tuple[Array, ...],
        final: tuple[Array, ...],
        order: Order,
    ) -> None:
        """Rows in the kernel's order: states are taken there and brought back, tables say where
        the rows of the other arrays stand."""
        tables = {"lengths": rows.lengths, "starts": rows.starts, "active": rows.active}
        for name, array in arrays.items():
            if name not in self.at:
                continue
            slot = self.at[name]
            block[slot], block[slot + 1], tables[f"{name}.rows"] = rows.place(
                array, backwards=order.backwards
            )
            if name == "x":
                tables["steps"] = np.arange(rows.active.shape[1]) * block[slot + 1]
        found = None
        if order.resets is not None:
            found = rows.flags(order.resets, backwards=order.backwards, ahead=order.ahead)
            tables["clear"] = found
        for name, table in tables.items():
            block[self.at[name]] = table.ctypes.data
        begin = tuple(s[rows.order] for s in start)
        end = tuple(np.empty_like(b) for b in begin)
        base = tuple(b[rows.order] for b in order.base)
        self._run(block, begin, end, base)
        for theirs, ours in zip((*final, *order.base), (*end, *base), strict=True):
            theirs[rows.order] = ours

    def _run(
        self,
        block: list[int],
        start: tuple[Array, ...],
        final: tuple[Array, ...],
        base: tuple[Array, ...],
    ) -> None:
        places = (*self.states, *self.bases)
        arrays = (*start, *final, *base)
        for slot, array in zip(places, arrays, strict=True):
            block[slot], block[slot + 1] = array.ctypes.data, array.strides[0]
        filled = self.block(*block)  # named, so that it outlives the call
        self.compiled.call(ctypes.addressof(filled))


@lru_cache(maxsize=256)
def _kernel(
    cell: Cell,
    dtype: DType,
    stores: tuple[str, ...],
    sums: tuple[str, ...],
    stacked_as: Cell,
    variant: Variant,
    openmp: bool,
) -> Kernel:
    from grus.kernels.jit import host

    del openmp  # part of the key: torch may be imported after a first call without it
    return Kernel(cell, Target(host(), dtype), stores, sums, stacked_as, variant)


def kernel(
    cell: Cell,
    dtype: DType,
    stores: tuple[str, ...],
    sums: tuple[str, ...] = (),
    stacked_as: Cell | None = None,
    variant: Variant = DENSE,
) -> Kernel:
    """The compiled program of a cell, compiled on first use, once per process.

    ``stores`` are the values written out at each step, ``sums`` those added up over time and
    batch; ``stacked_as`` is the cell in whose order the weights are stacked (default ``cell``).
    """
    with compiling:
        return _kernel(
            cell, dtype, stores, sums, stacked_as or cell, variant, bool(threads.openmp())
        )
