"""Calling compiled programs over NumPy arrays: sizes, buffers, threads, the argument block."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell, Weight
from grus.kernels import threads
from grus.kernels.ir import Target
from grus.kernels.machine import DType
from grus.kernels.plan import Plan, make_plan
from grus.kernels.program import Program
from grus.kernels.slots import Slots, groups

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK_BYTES = 256 * 1024
ALIGN = 64
ONE_THREAD_BELOW = 400_000
"""Multiply-adds of a whole call below which a second thread costs more than it brings."""
STEP_BELOW = 60_000
"""Multiply-adds of one step below which a barrier costs more than half the step."""

_compiling = threading.Lock()


class Kernel:
    """A compiled program with what is needed to fill its argument block."""

    def __init__(self, cell: Cell, target: Target, stores: tuple[str, ...], sums: tuple[str, ...]):
        from grus.kernels.jit import Compiled

        self.target, self.stores, self.sums = target, stores, sums
        self.plan: Plan = make_plan(cell)
        runtime = threads.openmp()
        program = Program(self.plan, target, stores, sums, openmp=bool(runtime))
        self.slots: Slots = program.slots
        self.groups = groups(self.plan)
        self.compiled = Compiled(program.text(), runtime)
        self.openmp = bool(runtime)

    def __call__(
        self,
        sizes: tuple[int, int, int, int],
        matrices: Mapping[Weight, Array],
        arrays: Mapping[str, Array],
        start: tuple[Array, ...],
        final: tuple[Array, ...],
        most_threads: int | None = None,
    ) -> Array:
        """Run. ``sizes`` is T, B, I, H; ``arrays`` maps slot names to [time, batch, axis] arrays
        (any strides but along the last axis). Gives the sums, one row per name."""
        call = _Call(self, sizes, most_threads)
        call.weights(matrices)
        call.strided(arrays)
        call.states(start, final)
        return call.run()


class _Call:
    def __init__(self, kernel: Kernel, sizes: tuple[int, int, int, int], most: int | None) -> None:
        self.kernel, self.plan = kernel, kernel.plan
        self.steps, self.batch, self.inputs, self.hidden = sizes
        self.item = kernel.target.item
        lanes = kernel.target.lanes
        self.tiles = -(-self.hidden // lanes)
        self.padded = self.tiles * lanes
        # One cache line more than the row, so that rows do not fall into the same cache sets.
        self.ld = self.padded * self.item + ALIGN
        self.values: dict[str, int] = {}
        self.keep: list[Any] = []
        self.threads, self.by_hidden = self.split(most)

    def split(self, most: int | None) -> tuple[int, bool]:
        """(threads, whether they share the hidden units rather than the rows)."""
        products = sum(len(members) for _, members in self.kernel.groups)
        step = products * self.batch * self.hidden * self.hidden
        available = threads.limit() if self.kernel.openmp else 1
        available = min(available, most or available)
        if available == 1 or step * self.steps < ONE_THREAD_BELOW:
            return 1, False
        if self.batch >= 4 * available:
            return available, False
        if step >= STEP_BELOW and self.tiles >= available:
            return available, True
        return min(available, self.batch), False

    def block(self, *counts: int) -> list[int]:
        """Addresses of aligned buffers of so many bytes, from one allocation."""
        rounded = [-(-count // ALIGN) * ALIGN for count in counts]
        memory = np.empty(sum(rounded) + ALIGN, np.uint8)
        self.keep.append(memory)
        at = -(-memory.ctypes.data // ALIGN) * ALIGN
        found = []
        for count in rounded:
            found.append(at)
            at += count
        return found

    def weights(self, matrices: Mapping[Weight, Array]) -> None:
        for weight, array in matrices.items():
            self.keep.append(array)
            self.values[f"w.{weight.name}"] = array.ctypes.data
            self.values[f"w.{weight.name}.row"] = array.strides[0]

    def strided(self, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            self.keep.append(array)
            self.values[name] = array.ctypes.data
            self.values[f"{name}.time"], self.values[f"{name}.row"] = array.strides[:2]

    def states(self, start: tuple[Array, ...], final: tuple[Array, ...]) -> None:
        for name, h0, hn in zip(self.plan.cell.states, start, final, strict=True):
            self.keep += [h0, hn]
            self.values[f"h0.{name}"], self.values[f"h0.{name}.row"] = h0.ctypes.data, h0.strides[0]
            self.values[f"hn.{name}"], self.values[f"hn.{name}.row"] = hn.ctypes.data, hn.strides[0]

    def buffers(self) -> Array:
        """Lay out panels, states, row buffers, the chunk of hoisted products, and the sums."""
        lanes_bytes = self.kernel.target.machine.vector_bytes
        panels = []
        for number, (_, members) in enumerate(self.kernel.groups):
            hoisted = number == 0 and bool(self.plan.hoisted)
            count = self.inputs if hoisted else self.hidden
            depth = -(-count // self.kernel.target.lanes) * self.kernel.target.lanes
            panels.append(max(depth, 1) * len(members) * lanes_bytes)
        pair = 2 * self.batch * self.ld
        slices = 1 if self.by_hidden else self.threads
        rows = -(-self.batch // slices)
        row = len(self.plan.hoisted) * self.padded * self.item
        chunk = self.chunk(rows * row, rows)
        own = [
            *(f"state.{s}" for s in self.plan.cell.states),
            *(f"row.{v}" for v in self.plan.rows),
        ]
        found = self.block(
            2 * ALIGN, chunk * rows * row * slices, *([pair] * len(own)),
            *(p * self.tiles for p in panels),
        )  # fmt: skip
        ctypes.memset(found[0], 0, 2 * ALIGN)
        self.values |= {"barrier": found[0], "P": found[1], "chunk": chunk}
        self.values |= {"P.row": row, "P.time": rows * row, "P.slice": chunk * rows * row}
        self.values |= dict(zip(own, found[2:], strict=False))
        for number, (size, at) in enumerate(zip(panels, found[2 + len(own) :], strict=True)):
            self.values[f"panel.{number}"], self.values[f"panel.{number}.tile"] = at, size
        return self.aligned_sums(slices)

    @property
    def dtype(self) -> type:
        return np.float32 if self.item == 4 else np.float64

    def aligned_sums(self, slices: int) -> Array:
        """Zeroed sums [slice, name, hidden], so that no two threads add to the same place."""
        width = len(self.kernel.sums) * self.padded
        memory = np.zeros(slices * width * self.item + ALIGN, np.uint8)
        self.keep.append(memory)
        skip = -memory.ctypes.data % ALIGN
        end = skip + slices * width * self.item
        shape = (slices, len(self.kernel.sums), self.padded)
        sums: Array = memory[skip:end].view(self.dtype).reshape(shape)
        self.values["sums"], self.values["sums.slice"] = sums.ctypes.data, width * self.item
        return sums

    def chunk(self, step_bytes: int, rows: int) -> int:
        """Steps whose hoisted products stay in the cache; enough of them to fill row tiles."""
        if not step_bytes:
            return max(self.steps, 1)
        fits = max(1, CHUNK_BYTES // step_bytes)
        return max(1, min(self.steps, fits if rows >= 8 else max(fits, 8)))

    def run(self) -> Array:
        locked = self.by_hidden and threads.hidden_split.acquire(blocking=False)
        if self.by_hidden and not locked:
            self.threads, self.by_hidden = 1, False
        try:
            sums = self.buffers()
            slices = 1 if self.by_hidden else self.threads
            self.values |= {
                "T": self.steps, "B": self.batch, "H": self.hidden, "I": self.inputs,
                "tiles": self.tiles, "ld": self.ld, "threads": self.threads, "slices": slices,
                "by_hidden": int(self.by_hidden),
            }  # fmt: skip
            names = list(self.kernel.slots.index)[: self.kernel.slots.given]
            block = (ctypes.c_int64 * len(names))(*(self.values.get(n, 0) for n in names))
            self.kernel.compiled.call(ctypes.addressof(block))
        finally:
            if locked:
                threads.hidden_split.release()
        total: Array = sums.sum(axis=0)[:, : self.hidden]
        return total


@lru_cache(maxsize=256)
def _kernel(
    cell: Cell, dtype: DType, stores: tuple[str, ...], sums: tuple[str, ...], openmp: bool
) -> Kernel:
    from grus.kernels.jit import host

    del openmp  # part of the key: torch may be imported after a first call without it
    return Kernel(cell, Target(host(), dtype), stores, sums)


def kernel(cell: Cell, dtype: DType, stores: tuple[str, ...], sums: tuple[str, ...] = ()) -> Kernel:
    """The compiled program of a cell, compiled on first use, once per process."""
    with _compiling:
        return _kernel(cell, dtype, stores, sums, bool(threads.openmp()))
