"""One step at a time with weights that are packed once: a snapshot, for serving."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np

from grus.equations import Cell, Connection, columns, input_size
from grus.kernels import (
    ALIGN,
    ALONE,
    Array,
    DType,
    Launcher,
    Narrow,
    Sizes,
    Variant,
    address,
    axis_sizes,
    call as calls,
    kernel,
)
from grus.runtime.buffer import LOW, Library
from grus.runtime.calls import by_family

Value = Any
"""A tensor of torch, or an array."""
Row = tuple[int, int]
"""Where an array of [batch, axis] lies: its address, its bytes from row to row."""


BATCHES = 8
"""Numbers of rows whose memory is kept."""


class PackedStep:
    """The step of one layer for ``batch`` rows, on the thread that calls it.

    ``weights`` by family, float32 or float64, are read here and never again; ``inputs`` is the
    width of x and the further inputs; ``narrow``: what is bfloat16 in products. A call allocates
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
        axes["input"] = input_size(cell, inputs, axes)
        sizes = program.sizes(Sizes.of((1, batch), axes))
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
        item = dtype.itemsize
        places = columns(cell, axes) | {"x": (0, inputs)}
        reads = [("x", 0), *((f"in.{name}", first * item) for name, (first, _) in places.items())]
        self._reads = [(at[name], before) for name, before in reads if name in at]
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
        for slot, before in self._reads:
            block[slot], block[slot + 2] = x[0] + before, x[1]
        slot = self._writes
        block[slot], block[slot + 2] = output
        for slot, (begin, row) in zip(self._states, states, strict=True):
            block[slot], block[slot + 1] = begin, row
        self._run(block.buffer_info()[0])


class PackedLayers:
    """The step of layers upon layers, each of a cell, for any number of rows; one caller at a time.

    ``connection`` says what each layer reads; what is added to outputs, the cells add. Behind what
    it reads stand ``more`` numbers, the further inputs."""

    def __init__(
        self,
        cells: Sequence[Cell],
        weights: Sequence[Mapping[str, Array]],
        connection: Connection,
        more: int,
        narrow: Narrow,
    ) -> None:
        self._cells, self._weights, self._narrow = cells, weights, narrow
        self._connection, self._more = connection, more
        self._lock = threading.Lock()
        self._packed = lru_cache(maxsize=BATCHES)(self._pack)

    def _pack(self, batch: int) -> tuple[list[PackedStep], Array | None, list[Array]]:
        """The steps of all layers; where x and outputs lie side by side, in a dense stack; and the
        output of each layer but the last, behind which there is room for ``more``."""
        reads, width = self._connection.reads, self._connection.width
        steps = [
            PackedStep(cell, weights, batch, inputs + self._more, self._narrow)
            for cell, weights, inputs in zip(self._cells, self._weights, reads, strict=True)
        ]
        dtype = next(iter(self._weights[0].values())).dtype
        if self._connection.kind != "dense":
            row = width + self._more
            return steps, None, [np.empty((batch, row), dtype) for _ in steps[1:]]
        side = np.empty((batch, reads[-1]), dtype)
        return steps, side, [side[:, end - width : end] for end in reads[1:]]

    def __call__(
        self,
        library: Library,
        batch: int,
        x: Value,
        before: list[Value],
        output: Value,
        after: list[Value],
    ) -> None:
        """From ``x`` [batch, row] and the states before, each [layers, batch, axis], to the
        output [batch, axis] and the states after, which may be those before: tensors of the
        library, or arrays."""
        with self._lock:
            steps, side, between = self._packed(batch)
            if side is not None:
                side[:, : self._connection.inputs] = x if isinstance(x, np.ndarray) else x.numpy()
                x = side
            x, before = _by_rows(x), list(map(_by_rows, before))
            for below in between if self._more else ():
                below[:, -self._more :] = np.asarray(x)[:, -self._more :]
            places = [_place(library, value) for value in (*before, *after)]
            read, last = _place(library, x), len(steps) - 1
            for k, step in enumerate(steps):
                write = _place(library, output if k == last else between[k])
                states = [(begin + k * strides[0], strides[1]) for begin, strides in places]
                step((read[0], read[1][0]), (write[0], write[1][0]), states)
                read = write if side is None else read


def has_rows(value: Value) -> bool:
    """Whether the last axis of a tensor or an array is contiguous."""
    if isinstance(value, np.ndarray):
        return value.strides[-1] == value.itemsize or value.shape[-1] < 2
    near: bool = value.stride(-1) == 1
    return near or value.shape[-1] < 2


def _by_rows(value: Value) -> Value:
    if has_rows(value):
        return value
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value.contiguous()


def _place(library: Library, value: Value) -> tuple[int, Sequence[int]]:
    """Address and bytes along each axis."""
    if isinstance(value, np.ndarray):
        return address(value), value.strides
    begin, item = value.data_ptr(), value.element_size()
    if begin < LOW:
        library.check_memory((value,))
    return begin, [item * s for s in value.stride()]
