"""Calls over NumPy arrays: where they lie, in which order their steps are taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.kernels.call import Kernel, Place
from grus.kernels.frame import Sizes
from grus.kernels.prepared import drawn
from grus.kernels.rows import Packing, Rows, dense_flags
from grus.kernels.split import Split

Array = np.ndarray[Any, np.dtype[Any]]


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
    seed: int = 0
    first: int = 0
    row: int = 0
    """The seed of drawn masks, the time of the first step, and the caller's number of the first
    row."""


def call(
    kernel: Kernel,
    stacked_as: Cell,
    sizes: Sizes,
    weights: Mapping[str, Array],
    arrays: Mapping[str, Array],
    start: tuple[Array, ...],
    final: tuple[Array, ...],
    order: Order,
    most_threads: int | None = None,
) -> Array:
    """Run over stacked ``weights`` by family; ``arrays`` maps slot names to arrays of [time, batch,
    axis], any strides but along the last axis, or where rows have lengths [valid steps, axis].

    ``sizes`` go by the axes of ``stacked_as``. Gives the sums, a row a name, each padded beyond its
    axis.
    """
    sizes = kernel.sizes(sizes)
    tensors: list[int] = []
    for family, gates in stacked_as.families.items():
        stacked = weights[family]
        row = stacked.strides[0]
        tensors += (address(stacked), row, stacked.shape[0] // len(gates) * row)
    with kernel.split(sizes, most_threads) as split:
        run = _ragged if order.packing else _dense
        return run(kernel, sizes, split, tuple(tensors), arrays, start, final, order)


def address(array: Array) -> int:
    """Where an array begins."""
    found: int = array.__array_interface__["data"][0]
    return found


def place(array: Array, *, backwards: bool = False) -> Place:
    """Where an array of [time, batch, axis] lies; ``backwards`` from its last step to its first."""
    first, (time, row, _) = address(array), array.strides
    if backwards and len(array):
        return first + (len(array) - 1) * time, -time, row
    return first, time, row


def _dense(
    kernel: Kernel,
    sizes: Sizes,
    split: Split,
    tensors: tuple[int, ...],
    arrays: Mapping[str, Array],
    start: tuple[Array, ...],
    final: tuple[Array, ...],
    order: Order,
) -> Array:
    places = {n: place(a, backwards=order.backwards) for n, a in arrays.items()}
    tables: dict[str, int] = {}
    found = None
    lengths = np.full(sizes[1], sizes[0])
    masks = drawn(kernel, order.row + np.arange(sizes[1]), _starts(lengths, order), _sign(order))
    if kernel.streams:
        tables |= masks.slots(order.seed)
    if order.resets is not None:
        found = dense_flags(order.resets, backwards=order.backwards, ahead=order.ahead)
        tables["clear"] = address(found)
    states = _states(start, final, order.base)
    return kernel.by_family(sizes, split, tensors, places, states, tables)


def _ragged(
    kernel: Kernel,
    sizes: Sizes,
    split: Split,
    tensors: tuple[int, ...],
    arrays: Mapping[str, Array],
    start: tuple[Array, ...],
    final: tuple[Array, ...],
    order: Order,
) -> Array:
    """Rows in the kernel's order: states are taken there and brought back, tables say where the
    rows of the other arrays stand."""
    assert order.packing is not None
    rows = Rows.deal(order.packing, split.slices)
    tables = {"lengths": rows.lengths, "starts": rows.starts, "active": rows.active}
    places: dict[str, Place] = {}
    for name, array in arrays.items():
        if name not in kernel.at:
            continue
        first, time, table = rows.place(array, backwards=order.backwards)
        tables[f"{name}.rows"] = table
        places[name] = first, time, address(table)
        if name == "x":
            tables["steps"] = np.arange(rows.active.shape[1]) * time
    if order.resets is not None:
        tables["clear"] = rows.flags(order.resets, backwards=order.backwards, ahead=order.ahead)
    begin = tuple(s[rows.order] for s in start)
    end = tuple(np.empty_like(b) for b in begin)
    base = tuple(b[rows.order] for b in order.base)
    where = {name: address(table) for name, table in tables.items()}
    masks = drawn(kernel, order.row + rows.order, _starts(rows.lengths, order), _sign(order))
    if kernel.streams:
        where |= masks.slots(order.seed)
    states = _states(begin, end, base)
    sums = kernel.by_family(sizes, split, tensors, places, states, where)
    for theirs, ours in zip((*final, *order.base), (*end, *base), strict=True):
        theirs[rows.order] = ours
    return sums


def _starts(lengths: Array, order: Order) -> Array:
    """[batch]: the time of the step that each row takes first."""
    return order.first + (lengths - 1 if order.backwards else np.zeros_like(lengths))


def _sign(order: Order) -> int:
    return -1 if order.backwards else 1


def _states(*groups: tuple[Array, ...]) -> list[int]:
    """Address and bytes of a row of each array in turn."""
    return [n for group in groups for a in group for n in (address(a), a.strides[0])]
