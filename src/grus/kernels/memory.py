"""Memory that calls work in, kept for the next.

The system clears every page that it gives, and takes large pieces back as soon as they are free:
without this a training call of 1,024 units would spend a seventh of its time on fresh pages.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from contextlib import suppress
from typing import Any, cast

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Memory = tuple[Array, int]
"""Bytes, and the first address in them that is aligned."""
ALIGN = 64
LIMIT = 256 * 1024 * 1024
"""Bytes kept at most: a training call of 100 steps, 32 rows, 1,024 units spent 97 of 578 ms on
fresh pages, and took 504 to 531 with so much kept. Blocks of the size whose last use is longest
ago make room; a larger one is not kept."""
CLASSES = 8
"""Sizes to choose from between one power of two and the next."""

_spare: dict[int, deque[Array]] = {}
"""By size, the last used at the end. Threads come here without a lock: what they do to it are
single operations, and a block that two of them lose is freed."""


def address(array: Array) -> int:
    """Where an array begins."""
    first: int = array.__array_interface__["data"][0]
    return first


def take(size: int) -> Memory:
    """Memory of at least ``size`` bytes, whatever it holds."""
    unit = max(4096, (1 << size.bit_length()) // (2 * CLASSES))
    size = -(-(size + ALIGN) // unit) * unit
    try:
        block = _spare[size].pop()
    except (KeyError, IndexError):
        block = np.empty(size, np.uint8)
    start = address(block)
    return block, start + -start % ALIGN


def give(block: Array) -> None:
    """Keep a block that was taken for the next call; nobody reads or writes it any more."""
    if block.size > LIMIT:
        return
    while kept() + block.size > LIMIT and _spare:
        with suppress(KeyError, IndexError, StopIteration, RuntimeError):  # others made room
            oldest = next(iter(_spare))
            if _spare[oldest]:
                _spare[oldest].popleft()
            else:
                del _spare[oldest]
    blocks = _spare.pop(block.size, None) or deque()
    blocks.append(block)
    _spare[block.size] = blocks


def kept() -> int:
    """Bytes that are kept now."""
    # A copy is one operation; a list of pairs may meet the collector, which gives blocks back.
    return sum(size * len(blocks) for size, blocks in _spare.copy().items())


def lasting(count: int, dtype: np.dtype[Any]) -> Array:
    """``count`` numbers in memory that comes back when nobody holds the array or a view of it."""
    block, start = take(count * dtype.itemsize)
    # Views of an array hold what it is itself a view of: that must be what comes to an end.
    holder = (ctypes.c_char * block.size).from_buffer(cast(Any, block))
    weakref.finalize(holder, give, block).atexit = False
    first = start - address(block)
    array: Array = np.frombuffer(memoryview(holder), dtype, count, first)
    return array
