"""One step at a time with weights that are packed once: a snapshot, for serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from grus.equations import Cell
from grus.kernels import call as calls
from grus.kernels.argument_block import Variant
from grus.kernels.call import Launcher, kernel
from grus.kernels.layout import axis_sizes
from grus.kernels.machine import DType
from grus.kernels.memory import ALIGN, address
from grus.kernels.split import ALONE
from grus.kernels.steps import Narrow
from grus.runtime.weights import by_family

Array = np.ndarray[Any, np.dtype[Any]]
Row = tuple[int, int]
"""Where an array of [batch, axis] lies: its address, its bytes from row to row."""


class PackedStep:
    """The step of one layer for ``batch`` rows, on the thread that calls it.

    ``weights`` by family, float32 or float64, are read here and never again; ``narrow``: what is
    bfloat16 in products. A call allocates
    nothing; two at once would share their memory, so whoever has threads holds a lock.
    """

    def __init__(
        self,
        cell: Cell,
        weights: Mapping[str, Array],
        batch: int,
        inputs: int,
        narrow: Narrow = "",
    ) -> None:
        dtype = next(iter(weights.values())).dtype
        variant = Variant(narrow=narrow)
        program = kernel(cell, cast("DType", dtype.name), (cell.output,), variant=variant)
        axes = axis_sizes(cell, weights)
        sizes = program.sizes((1, batch, inputs, axes["hidden"], axes.get("projection", 0)))
        tensors: list[int] = []
        for family, gates in cell.families.items():
            stacked, row = weights[family], weights[family].strides[0]
            tensors += (address(stacked), row, stacked.shape[0] // len(gates) * row)
        launcher = Launcher(program, by_family(cell).sources(program.plan.cell.weights))
        frame, block, offsets = launcher.template(sizes, ALONE, calls.CHUNK_BYTES, tuple(tensors))
        self._memory = np.zeros(frame.bytes + ALIGN, np.uint8)
        begin = address(self._memory)
        self._block, self._run = block[:], program.compiled.call
        for slot in offsets:
            self._block[slot] += begin + -begin % ALIGN
        at = program.at
        self._reads = [at[name] for name in ("x", "in.x") if name in at]
        self._writes, self._states = at[f"out.{cell.output}"], program.states
        self._pack(cell, axes, batch, inputs, dtype)
        self._block[at["packed"]] = 1

    def _pack(
        self, cell: Cell, axes: Mapping[str, int], batch: int, inputs: int, dtype: np.dtype[Any]
    ) -> None:
        """One step of zeros, which packs."""
        x = np.zeros((batch, inputs), dtype)
        widths = [axes[axis] for axis in cell.shapes.states.values()]
        states = [np.zeros((batch, width), dtype) for width in (*widths, *widths)]
        output = np.zeros((batch, axes[str(cell.shapes.values[cell.output])]), dtype)
        places = [(address(a), a.strides[0]) for a in (x, output, *states)]
        self(places[0], places[1], places[2:])

    def __call__(self, x: Row, output: Row, states: list[Row]) -> None:
        """``states`` are those before, then those after, which may be the same arrays."""
        block = self._block
        for slot in self._reads:
            block[slot], block[slot + 2] = x
        slot = self._writes
        block[slot], block[slot + 2] = output
        for slot, (begin, row) in zip(self._states, states, strict=True):
            block[slot], block[slot + 1] = begin, row
        self._run(block.buffer_info()[0])
