"""Calling compiled programs over NumPy arrays: sizes, buffers, the argument block."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.kernels import threads
from grus.kernels.ir import Target
from grus.kernels.machine import DType
from grus.kernels.plan import Plan, make_plan
from grus.kernels.program import Program
from grus.kernels.slots import Slots, groups
from grus.kernels.split import Split

Array = np.ndarray[Any, np.dtype[Any]]
Sizes = tuple[int, int, int, int]
"""T, B, I, H."""
CHUNK_BYTES = 256 * 1024
"""Products with x computed ahead of the time loop: what stays in half of a 512 KiB L2."""
ALIGN = 64

_compiling = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A fork waits for a compilation under way: the child would inherit a lock that nobody opens.
    os.register_at_fork(
        before=_compiling.acquire,
        after_in_parent=_compiling.release,
        after_in_child=_compiling.release,
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

        self.target, self.stores, self.sums = target, stores, sums
        self.plan: Plan = make_plan(cell)
        runtime = threads.openmp()
        program = Program(self.plan, target, stores, sums, openmp=bool(runtime))
        self.slots: Slots = program.slots
        self.groups = [(operand, len(members)) for operand, members in groups(self.plan)]
        self.compiled = Compiled(program.text(), runtime)
        self.openmp = bool(runtime)
        self.block = ctypes.c_int64 * len(self.slots.names)
        self.own = [f"state.{s}" for s in cell.states] + [f"row.{v}" for v in self.plan.rows]
        self.states = tuple((f"h0.{s}", f"hn.{s}") for s in cell.states)
        self.gates = tuple(
            (family, stacked_as.families[family], gates)
            for family, gates in self.plan.cell.families.items()
        )

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
        call = _Call(self, sizes)
        call.weights(weights)
        call.strided(arrays)
        call.states(start, final)
        return call.run(most_threads)


class _Call:
    def __init__(self, kernel: Kernel, sizes: Sizes) -> None:
        self.kernel, self.plan, self.sizes = kernel, kernel.plan, sizes
        target = kernel.target
        self.item, self.lanes = target.item, target.lanes
        self.tiles = -(-sizes[3] // self.lanes)
        self.padded = self.tiles * self.lanes
        # One cache line more than the row, so that rows do not fall into the same cache sets.
        self.ld = self.padded * self.item + ALIGN
        self.values: dict[str, int] = {}
        self.keep: list[Any] = []

    def weights(self, weights: Mapping[str, Array]) -> None:
        for family, stacking, gates in self.kernel.gates:
            stacked = weights[family]
            at, stride = stacked.ctypes.data, stacked.strides[0]
            block = stacked.shape[0] // len(stacking) * stride
            for gate in gates:
                slot = f"w.{family}.{gate}"
                self.values[slot] = at + stacking.index(gate) * block
                self.values[slot + ".row"] = stride

    def strided(self, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            self.values[name] = array.ctypes.data
            self.values[name + ".time"], self.values[name + ".row"], *_ = array.strides

    def states(self, start: tuple[Array, ...], final: tuple[Array, ...]) -> None:
        for names, arrays in zip(self.kernel.states, zip(start, final, strict=True), strict=True):
            for name, array in zip(names, arrays, strict=True):
                self.values[name], self.values[name + ".row"] = array.ctypes.data, array.strides[0]

    def run(self, most_threads: int | None) -> Array:
        steps, batch, inputs, hidden = self.sizes
        products = sum(members for _, members in self.kernel.groups)
        with Split.choose(products, steps, batch, hidden, self.tiles, most_threads) as split:
            sums = self.buffers(split.slices)
            self.values |= {
                "T": steps, "B": batch, "H": hidden, "I": inputs, "tiles": self.tiles,
                "ld": self.ld, "threads": split.threads, "slices": split.slices,
                "by_hidden": int(split.by_hidden),
            }  # fmt: skip
            block = self.kernel.block(*map(self.values.__getitem__, self.kernel.slots.names))
            self.kernel.compiled.call(ctypes.addressof(block))
        total: Array = sums.sum(axis=0)[:, :hidden]
        return total

    def buffers(self, slices: int) -> Array:
        """Lay out everything the kernel works in, in one allocation; gives the zeroed sums."""
        _, batch, inputs, hidden = self.sizes
        width = self.lanes * self.item
        panels = []
        for number, (_, members) in enumerate(self.kernel.groups):
            count = inputs if number == 0 and self.plan.hoisted else hidden
            panels.append(-(-count // self.lanes) * self.lanes * members * width)
        rows = -(-batch // slices)
        row = len(self.plan.hoisted) * self.padded * self.item
        chunk = self.chunk(rows * row, rows)
        own, pair = self.kernel.own, 2 * batch * self.ld
        sums = len(self.kernel.sums) * self.padded * self.item
        counts = [2 * ALIGN + slices * sums, chunk * rows * row * slices]
        counts += [pair] * len(own) + [p * self.tiles for p in panels]
        memory, found = self.allocate(counts)
        offset = found[0] - memory.ctypes.data
        memory[offset : offset + counts[0]] = 0
        self.values |= {
            "barrier": found[0], "sums": found[0] + 2 * ALIGN, "sums.slice": sums, "P": found[1],
            "chunk": chunk, "P.row": row, "P.time": rows * row, "P.slice": chunk * rows * row,
        }  # fmt: skip
        self.values |= dict(zip(own, found[2:], strict=False))
        for number, (size, at) in enumerate(zip(panels, found[2 + len(own) :], strict=True)):
            self.values[f"panel.{number}"], self.values[f"panel.{number}.tile"] = at, size
        dtype = np.float32 if self.kernel.target.dtype == "float32" else np.float64
        zeroed: Array = memory[offset + 2 * ALIGN : offset + counts[0]].view(dtype)
        return zeroed.reshape(slices, len(self.kernel.sums), self.padded)

    def allocate(self, counts: list[int]) -> tuple[Array, list[int]]:
        """One block of memory and the aligned addresses of buffers of so many bytes in it."""
        rounded = [-(-count // ALIGN) * ALIGN for count in counts]
        memory: Array = np.empty(sum(rounded) + ALIGN, np.uint8)
        self.keep.append(memory)
        at = -(-memory.ctypes.data // ALIGN) * ALIGN
        found = []
        for count in rounded:
            found.append(at)
            at += count
        return memory, found

    def chunk(self, step_bytes: int, rows: int) -> int:
        """Steps whose hoisted products stay in the cache; enough of them to fill row tiles."""
        steps = max(self.sizes[0], 1)
        if not step_bytes:
            return steps
        fits = max(1, CHUNK_BYTES // step_bytes)
        return min(steps, fits if rows >= 8 else max(fits, 8))


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
    with _compiling:
        return _kernel(cell, dtype, stores, sums, stacked_as or cell, bool(threads.openmp()))
