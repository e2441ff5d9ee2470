"""The random masks of a cell as arrays: Philox4x32-10, as the kernels draw them, bit for bit.

Four random words are a function of the counter (unit // 4, row, time, stream) and of the seed's
two halves; unit u takes word u % 4. The stream is the mask's place among the cell's drawn masks. A
mask per sequence has the time 2^32 - 1. A word below round(keep 2^32) keeps the unit.

Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grus.equations import Cell, Input

Array = Any

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = 0xFFFFFFFF
ALWAYS = LOW


def philox(counter: tuple[Array, ...], key: tuple[int, int]) -> tuple[Array, ...]:
    """Four words for each counter: arrays of int64 (NumPy's or torch's) that hold 32-bit words."""
    c0, c1, c2, c3 = counter
    for k in range(ROUNDS):
        k0, k1 = ((part + k * step) & LOW for part, step in zip(key, WEYL, strict=True))
        # A product of two words needs 64 bits; in int64 it wraps, which keeps all of them.
        even, odd = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        high = (even >> 32) & LOW, (odd >> 32) & LOW
        c0, c1, c2, c3 = high[1] ^ c1 ^ k0, odd & LOW, high[0] ^ c3 ^ k1, even & LOW
    return c0, c1, c2, c3


def words(shape: tuple[int, int, int], seed: int, stream: int, time: int | None) -> Array:
    """Words [time, row, unit] from the first time on; ``time`` None: those of a sequence."""
    steps, rows, units = shape
    counts = -(-units // 4)
    unit = np.arange(counts, dtype=np.int64)[None, None, :]
    row = np.arange(rows, dtype=np.int64)[None, :, None]
    when = np.arange(steps, dtype=np.int64)[:, None, None] + (ALWAYS if time is None else time)
    full = np.zeros((steps, rows, counts), np.int64)
    key = (seed & LOW, seed >> 32 & LOW)
    drawn = philox((full + unit, full + row, full + when, full + stream), key)
    return np.stack(drawn, axis=-1).reshape(steps, rows, 4 * counts)[:, :, :units]


def draw(
    cell: Cell, sizes: Mapping[str, int], steps: int, batch: int, seed: int, first: int = 0
) -> dict[str, Array]:
    """The drawn masks of a cell by name: [time, batch, axis] float64, or [batch, axis] for a mask
    per sequence. ``first`` is the time of the first step."""
    return {
        mask.name: _values(
            mask,
            words(
                (steps if mask.per == "step" else 1, batch, sizes[cell.shapes.inputs[mask]]),
                seed,
                stream,
                first if mask.per == "step" else None,
            ),
        )
        for stream, mask in enumerate(cell.masks)
    }


def _values(mask: Input, words: Array) -> Array:
    assert mask.keep is not None
    values = np.where(words < round(mask.keep * 2**32), mask.value, 0.0)
    return values if mask.per == "step" else values[0]
