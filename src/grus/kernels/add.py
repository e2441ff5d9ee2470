"""The sum of two arrays as a kernel adds: rounded to nearest, denormals kept in any thread.

A gate whose bias is kept in two parts gets their sum before a kernel runs. NumPy and torch would
add in the calling thread's mode, where ``torch.set_flush_denormal`` makes small sums 0.
"""

from __future__ import annotations

import ctypes
from typing import Any, cast

import numpy as np

from grus.kernels.code import Code
from grus.kernels.compiling import compiled
from grus.kernels.ir import ATTRIBUTES, Target
from grus.kernels.machine import DType
from grus.kernels.slots import Slots

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
    run = compiled(text, cast("DType", first.dtype.name))
    addresses = (first.ctypes.data, second.ctypes.data, total.ctypes.data)
    block = (ctypes.c_int64 * 4)(*addresses, first.size)
    run.call(ctypes.addressof(block))
    return total


def text(target: Target, openmp: bool) -> str:
    """The addition as LLVM text, for one thread."""
    del openmp
    slots = _Slots()
    f = Code(target, "run", ["ptr %ctx"], slots, private=False)
    before = f.enter_float_mode()
    first, second, total = (f.pointer(name) for name in slots.names[:3])
    count = f.slot("count")

    def body(k: str, _: list[str]) -> list[str]:
        at, mask = f.mul(k, target.item), f.lanes_below(f.sub(count, k))
        a, b = (f.load_masked(f.at(p, at), mask) for p in (first, second))
        f.store_masked(f.let(f"fadd {target.vector} {a}, {b}"), f.at(total, at), mask)
        return []

    f.loop(0, count, target.lanes, body)
    f.leave_float_mode(before)
    return "\n\n".join([*sorted(f.externals), f.text(), ATTRIBUTES]) + "\n"
