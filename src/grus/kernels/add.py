"""The sum of two arrays as a kernel adds: rounded to nearest, denormals kept in any thread.

A gate whose bias is kept in two parts gets their sum before a kernel runs. NumPy and torch would
add in the calling thread's mode, where ``torch.set_flush_denormal`` makes small sums 0.
"""

from __future__ import annotations

import ctypes
from typing import Any, cast

import numpy as np

from grus.kernels.argument_block import Slots
from grus.kernels.builder import SlotBuilder
from grus.kernels.jit import compiled
from grus.kernels.loops import Program
from grus.kernels.machine import DType, Target
from grus.kernels.memory import address

Array = np.ndarray[Any, np.dtype[Any]]


class _Slots(Slots):
    """Two addresses to read, one to write, how many numbers."""

    def __init__(self) -> None:
        self.names = ("first", "second", "sum", "count")
        self.index = {name: k for k, name in enumerate(self.names)}


def add(first: Array, second: Array) -> Array:
    """``first + second``, elementwise: two contiguous arrays of one shape, both float32 or both
    float64. The result is new."""
    total = np.empty(first.shape, first.dtype)
    run = compiled(loops, cast("DType", first.dtype.name))
    addresses = [address(array) for array in (first, second, total)]
    block = (ctypes.c_int64 * 4)(*addresses, first.size)
    run.call(ctypes.addressof(block))
    return total


def loops(target: Target) -> Program:
    """The addition as a program of one thread."""
    slots = _Slots()
    f = SlotBuilder(target, "run", "", slots, nearest=True)
    first, second, total = (f.pointer(name) for name in slots.names[:3])
    count = f.slot("count")
    with f.each(0, count, target.lanes) as k:
        at, mask = f.mul(k, target.item), f.lanes_below(f.sub(count, k))
        a, b = (f.load_masked(f.at(p, at), mask) for p in (first, second))
        f.store_masked(f.let("add", a, b), f.at(total, at), mask)
    return Program((f.finished(),))
