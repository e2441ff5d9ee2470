"""Compiled programs, and calling them: sizes, memory, the argument block.

Nothing here knows arrays: tensors and arrays come as addresses and strides in bytes, so that NumPy
and torch call alike, and a call costs little more than its block.
"""

from __future__ import annotations

import array
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.kernels import jit, threads
from grus.kernels.argument_block import (
    DENSE,
    CellSlots,
    Frame,
    Sizes,
    Variant,
    lay_out,
)
from grus.kernels.layout import derived_axes
from grus.kernels.machine import DType, Target
from grus.kernels.memory import Memory, address
from grus.kernels.plan import ONE, Plan, make_plan
from grus.kernels.program import cell_program, guarded
from grus.kernels.split import Split, Work

Array = np.ndarray[Any, np.dtype[Any]]
Template = tuple[Frame, "array.array[int]", list[int]]
"""A frame, a block, and the slots in it that count from the memory's beginning."""
Source = tuple[int, int, int, int]
"""Of a weight: its tensor and its gate there, and the same of a vector's second part; -1 is no
tensor."""

CHUNK_BYTES = 256 * 1024
"""Products with x computed ahead of the time loop: what stays in half of a 512 KiB L2."""


class Kernel:
    """A compiled program with what is needed to lay out its calls."""

    def __init__(
        self,
        cell: Cell,
        dtype: DType,
        stores: tuple[str, ...],
        sums: tuple[str, ...],
        stacked_as: Cell,
        variant: Variant,
        openmp: bool,
    ) -> None:
        del openmp  # part of the key: torch may be imported after a first call without it
        target = Target(jit.host(), dtype, variant.narrow)
        self.target, self.sums, self.variant = target, sums, variant
        self.plan: Plan = make_plan(cell)
        self.names = CellSlots(self.plan, stores, variant).names
        self.at = {name: k for k, name in enumerate(self.names)}
        self.axes = derived_axes(self.plan.cell, stacked_as, backward=cell is not stacked_as)
        streams = [mask.name for mask in stacked_as.masks]
        self.streams = {f"mask.{m.name}.stream": streams.index(m.name) for m in self.plan.masks}
        program = cell_program(self.plan, target, stores, sums, variant)
        self.compiled = jit.executable(program, target)
        self.dtype = np.dtype(target.dtype)
        self.states = [self.at[f"{part}.{s}"] for part in ("h0", "hn") for s in cell.states]
        bases = [f"base.{s}" for s in cell.states]
        self.states += [self.at[name] for name in bases if name in self.at]
        self.frame = lru_cache(maxsize=64)(self._frame)
        self.work_of = lru_cache(maxsize=256)(self._work_of)

    def sizes(self, sizes: Sizes) -> Sizes:
        """The caller's sizes by the plan's own axes."""
        size = dict(sizes.axes)
        return sizes._replace(
            axes=tuple((axis, size[called]) for axis, called in self.axes.items())
        )

    def _work_of(self, sizes: Sizes) -> Work:
        """What a call has to do."""
        plan, (steps, batch, axes) = self.plan, sizes
        size = {**dict(axes), ONE: 0}
        products = [
            size[loop.depth] * size[loop.axis] // loop.blocks * len(loop.members)
            for loop in plan.k_loops
        ]
        first, item = len(plan.hoisted_loops), 2 if self.target.narrow else self.target.item
        return Work(
            steps,
            batch,
            inside=sum(products[first:]),
            ahead=sum(products[:first]),
            units=sum(size[stage.axis] for stage in plan.stages),
            weights=sum(products) * item,
            panels=sum(products[first:]) * item,
            barriers=sum(guarded(plan, at) for at in range(len(plan.stages))),
            tiles=-(-size["hidden"] // self.target.lanes),
        )

    def place(
        self,
        held: Memory,
        frame: Frame,
        block: array.array[int],
        offsets: list[int],
        split: Split,
    ) -> Array | None:
        """Give a block memory of its own; ``offsets`` are the slots that count from its beginning.
        What must be zero when it runs, None where nothing must."""
        memory, base = held
        for slot in offsets:
            block[slot] += base
        if split.threads == 1 and not self.sums:
            return None
        first = base - address(memory)
        return memory[first : first + frame.zeroed]

    def _frame(self, sizes: Sizes, split: Split, ahead: int) -> tuple[Frame, list[int], list[int]]:
        """A frame, the block with its constants and offsets, and the slots that are offsets."""
        kept = (split.threads, split.by_hidden)
        frame = lay_out(self.plan, self.target, len(self.sums), sizes, kept, ahead)
        numbers = frame.constants | frame.offsets
        return frame, [numbers.get(n, 0) for n in self.names], [self.at[n] for n in frame.offsets]


class Launcher:
    """A kernel whose weights come from certain tensors: those of `Source` for each weight; tensors
    are (address, bytes of a row, bytes of a gate) of each in turn, last axes contiguous."""

    def __init__(self, kernel: Kernel, sources: tuple[Source, ...]) -> None:
        self.kernel = kernel
        self.weights = tuple(
            (kernel.at[f"w.{w.name}"], w in kernel.plan.vectors, source)
            for w, source in zip(kernel.plan.cell.weights, sources, strict=True)
        )

    def template(
        self, sizes: Sizes, split: Split, ahead: int, tensors: tuple[int, ...]
    ) -> tuple[Frame, array.array[int], list[int]]:
        """A frame, the block with constants, offsets and weights, the slots that are offsets."""
        frame, numbers, offsets = self.kernel.frame(sizes, split, ahead)
        block = array.array("q", numbers)
        for slot, is_vector, (tensor, gate, second, second_gate) in self.weights:
            if tensor >= 0:
                address, row, size = tensors[3 * tensor : 3 * tensor + 3]
                block[slot] = address + gate * size
                block[slot + 1] = 0 if is_vector else row
            if second >= 0:
                address, _, size = tensors[3 * second : 3 * second + 3]
                block[slot + 1] = address + second_gate * size
        return frame, block, offsets


_kernel = lru_cache(maxsize=256)(Kernel)


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
    with jit.compiling:
        return _kernel(
            cell, dtype, stores, sums, stacked_as or cell, variant, bool(threads.openmp())
        )
