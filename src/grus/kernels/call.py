"""Calling compiled programs over NumPy arrays: sizes, buffers, the argument block."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Mapping
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
from grus.kernels.slots import groups
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


class Kernel:
    """A compiled program with what is needed to fill its argument block."""

    def __init__(
        self,
        cell: Cell,
        target: Target,
        stores: tuple[str, ...],
        sums: tuple[str, ...],
        stacked_as: Cell,
    ) -> None:
        from grus.kernels.jit import Compiled

        self.target, self.sums = target, sums
        self.plan: Plan = make_plan(cell)
        runtime = threads.openmp()
        program = Program(self.plan, target, stores, sums, openmp=bool(runtime))
        self.names = program.slots.names
        self.at = {name: k for k, name in enumerate(self.names)}
        self.members = [len(members) for _, members in groups(self.plan)]
        self.compiled = Compiled(program.text(), runtime)
        self.block = ctypes.c_int64 * len(self.names)
        self.dtype = np.dtype(target.dtype)
        self.states = tuple((self.at[f"h0.{s}"], self.at[f"hn.{s}"]) for s in cell.states)
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
        frame = lay_out(self.plan, self.target, self.members, len(self.sums), sizes, kept, ahead)
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
    ) -> Array:
        """Run over stacked ``weights`` by family; ``arrays`` maps slot names to arrays of
        [time, batch, axis], any strides but along the last axis. Gives the sums, a row a name."""
        steps, batch, _, hidden = sizes
        tiles = -(-hidden // self.target.lanes)
        with Split.choose(sum(self.members), steps, batch, hidden, tiles, most_threads) as split:
            frame, template, offsets = self.frame(sizes, split, CHUNK_BYTES)
            block = template.copy()
            memory = np.empty(frame.bytes + ALIGN, np.uint8)
            skip = -memory.ctypes.data % ALIGN
            memory[skip : skip + frame.zeroed] = 0
            base = memory.ctypes.data + skip
            for slot in offsets:
                block[slot] += base
            self._fill(block, weights, arrays, start, final)
            slots = self.block(*block)  # named, so that it outlives the call
            self.compiled.call(ctypes.addressof(slots))
        if not self.sums:
            return np.empty((0, hidden), self.dtype)
        first = skip + frame.sums
        size = math.prod(frame.shape) * self.target.item
        sums = memory[first : first + size].view(self.dtype).reshape(frame.shape)
        total: Array = sums.sum(axis=0)[:, :hidden]
        return total

    def _fill(
        self,
        block: list[int],
        weights: Mapping[str, Array],
        arrays: Mapping[str, Array],
        start: tuple[Array, ...],
        final: tuple[Array, ...],
    ) -> None:
        """Put the caller's addresses and strides into the block."""
        for family, count, places in self.gates:
            stacked = weights[family]
            first, stride = stacked.ctypes.data, stacked.strides[0]
            gate = stacked.shape[0] // count * stride
            for slot, place in places:
                block[slot], block[slot + 1] = first + place * gate, stride
        for name, array in arrays.items():
            if name == "x" and name not in self.at:
                continue  # a cell without a product with x
            slot = self.at[name]
            block[slot] = array.ctypes.data
            block[slot + 1], block[slot + 2] = array.strides[:2]
        for slots, h0, hn in zip(self.states, start, final, strict=True):
            for slot, array in zip(slots, (h0, hn), strict=True):
                block[slot], block[slot + 1] = array.ctypes.data, array.strides[0]


@lru_cache(maxsize=256)
def _kernel(
    cell: Cell,
    dtype: DType,
    stores: tuple[str, ...],
    sums: tuple[str, ...],
    stacked_as: Cell,
    openmp: bool,
) -> Kernel:
    from grus.kernels.jit import host

    del openmp  # part of the key: torch may be imported after a first call without it
    return Kernel(cell, Target(host(), dtype), stores, sums, stacked_as)


def kernel(
    cell: Cell,
    dtype: DType,
    stores: tuple[str, ...],
    sums: tuple[str, ...] = (),
    stacked_as: Cell | None = None,
) -> Kernel:
    """The compiled program of a cell, compiled on first use, once per process.

    ``stores`` are the values written out at each step, ``sums`` those added up over time and
    batch; ``stacked_as`` is the cell in whose order the weights are stacked (default ``cell``).
    """
    with compiling:
        return _kernel(cell, dtype, stores, sums, stacked_as or cell, bool(threads.openmp()))
