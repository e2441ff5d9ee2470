"""Rows of different lengths, dealt out to slices: the tables that a ragged call reads; resets."""

from __future__ import annotations

import array
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from grus.kernels import LOW, Array, Steps, address

States = tuple[Array, ...]
Tables = tuple[list[tuple[int, int, int]], list[tuple[int, int]]]
"""Of a call's block: slots that hold a buffer's address and so many bytes; slots and numbers."""
MOST = 16
"""Calls whose tables are kept with the lengths they belong to."""


class Packing:
    """Where valid steps stand in a packed array [steps, axis]: row after row, in time order."""

    def __init__(self, lengths: Array) -> None:
        self.lengths = lengths
        self.valid, self.longest = int(lengths.sum()), int(lengths.max(initial=0))
        self._dealt: dict[int, Rows] = {}

    @cached_property
    def first(self) -> Array:
        """[batch]: the place of each row's first step."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def places(self) -> tuple[Array, Array]:
        """(time, row) of each valid step."""
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return np.arange(len(rows)) - self.first[rows], rows

    def pack(self, padded: Array) -> Array:
        """[time, batch, axis] -> [valid steps, axis], a copy."""
        packed: Array = padded[self.places]
        return packed

    def unpack(self, packed: Array, padded: Array) -> None:
        """[valid steps, axis] into [time, batch, axis], zeros past each row's end."""
        padded[...] = 0
        padded[self.places] = packed

    def blank(self, padded: Array, value: float = 0) -> None:
        """Put a number past each row's end into an array of [time, batch, axis]."""
        for row in np.flatnonzero(self.lengths < len(padded)):
            padded[self.lengths[row] :, row] = value

    def deal(self, slices: int) -> Rows:
        """Deal the rows out like cards, so that the slices get about the same number of steps."""
        if slices not in self._dealt:
            self._dealt[slices] = Rows.deal(self, slices)
        return self._dealt[slices]


@lru_cache(maxsize=64)
def _packing(lengths: bytes) -> Packing:
    return Packing(np.frombuffer(lengths, np.int64))


def packing(steps: Steps) -> Packing | None:
    """The packing of the steps' lengths, None where rows have all steps."""
    return None if steps.lengths is None else _packing(steps.lengths.tobytes())


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a call in the order of the kernel: in each slice, the longest first."""

    packing: Packing
    order: Array
    """[batch]: the caller's row."""
    lengths: Array
    """[batch] in the kernel's order."""
    starts: Array
    """[slices + 1]: the first row of each slice."""
    active: Array
    """[slices, time]: how many of its rows are still under way."""
    arrays: dict[Any, Array]
    """Tables of the arrays that calls read and write."""
    known: dict[Any, Tables]
    """By call: what its block holds."""

    @staticmethod
    def deal(packing: Packing, slices: int) -> Rows:
        """As `Packing.deal`."""
        ranked = np.argsort(-packing.lengths, kind="stable")
        hands = [ranked[s::slices] for s in range(slices)]
        lengths = packing.lengths[ranked]
        time = np.arange(lengths[0] if len(lengths) else 0)
        active = np.zeros((slices, len(time)), np.int64)
        for s in range(slices):
            ascending = lengths[s::slices][::-1]
            active[s] = len(ascending) - np.searchsorted(ascending, time, side="right")
        order = np.concatenate(hands)
        starts = np.cumsum([0, *map(len, hands)])
        return Rows(packing, order, packing.lengths[order], starts, active, {}, {})

    def table(self, time: int, row: int, packed: bool) -> Array:
        """[batch]: bytes from an array's beginning to each row's first step; it goes from its last
        valid step to its first where ``time``, the bytes from step to step, is below 0."""
        key = time, row, packed
        if key not in self.arrays:
            first = self.packing.first[self.order] if packed else self.order
            table = first * row
            self.arrays[key] = table - (self.lengths - 1) * time if time < 0 else table
        return self.arrays[key]

    def steps(self, time: int) -> Array:
        """[time]: bytes from an array's beginning to each step."""
        if time not in self.arrays:
            self.arrays[time] = np.arange(self.active.shape[1]) * time
        return self.arrays[time]

    def know(self, call: Any, tables: Tables) -> Tables:
        """Keep what a call's block holds."""
        if len(self.known) >= MOST:
            self.known.clear()
        self.known[call] = tables
        return tables

    def flags(self, resets: Array, backwards: bool, ahead: int) -> Array:
        """[time, batch] bytes in the kernel's order: whether the step ``ahead`` of each one, in the
        order in which they are taken, is a reset."""
        return flags(resets[:, self.order], self.lengths, backwards=backwards, ahead=ahead)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What drawn masks depend on, beside the unit: [batch] the caller's row and the time of the
    first step of each row, 1 or -1 from step to step, the stream of each mask."""

    rows: Array
    first: Array
    sign: int
    streams: dict[str, int]

    def put(self, block: array.array[int], at: dict[str, int], seed: int) -> None:
        """Into a block; the arrays live as long as this does."""
        block[at["seed.low"]], block[at["seed.high"]] = seed & LOW, seed >> 32 & LOW
        block[at["mask.rows"]], block[at["mask.first"]] = map(address, (self.rows, self.first))
        block[at["mask.sign"]] = self.sign
        for name, stream in self.streams.items():
            block[at[name]] = stream


def first_states(steps: Steps, start: States, base: States) -> States:
    """The states at the first step, one row after the other: put back where it is a reset, to
    ``base`` or where that is empty to zero."""
    rows = tuple([np.ascontiguousarray(s) for s in start])
    resets, pack = steps.resets, packing(steps)
    if resets is None or not len(resets):
        return rows
    if pack is None:
        cleared = resets[-1 if steps.reverse else 0]
    else:
        last = np.maximum(pack.lengths - 1, 0)
        at = last if steps.reverse else np.zeros_like(last)
        cleared = resets[at, np.arange(len(at))] & (pack.lengths > 0)
    if not cleared.any():
        return rows
    back = base or tuple(s.dtype.type(0) for s in rows)
    return tuple(np.where(cleared[:, None], b, s) for b, s in zip(back, rows, strict=True))


def dense_flags(resets: Array, *, backwards: bool, ahead: int) -> Array:
    """What `flags` gives where rows have all steps."""
    taken = resets[::-1] if backwards else resets
    ahead_of = np.zeros(taken.shape, bool)
    ahead_of[: len(taken) - ahead] = taken[ahead:]
    return ahead_of.view(np.uint8)


def flags(resets: Array, lengths: Array, *, backwards: bool, ahead: int) -> Array:
    """For each step, in the order in which they are taken, whether the step ``ahead`` of it is a
    reset: bytes, 0 past the end. ``lengths`` [batch] are the rows'."""
    longest = int(lengths.max(initial=0))
    taken = np.arange(ahead, longest + ahead)[:, None]
    inside = taken < lengths
    time = np.where(inside, lengths - 1 - taken if backwards else taken, 0)
    return (np.take_along_axis(resets, time, axis=0) & inside).view(np.uint8)
