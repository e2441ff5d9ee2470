"""Rows of different lengths, dealt out to slices: the tables that a ragged call reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Packing:
    """Where valid steps stand in a packed array [steps, axis]: row after row, in time order."""

    lengths: Array

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
        found: Array = padded[self.places]
        return found

    def unpack(self, packed: Array, steps: int) -> Array:
        """[valid steps, axis] -> [time, batch, axis], zeros past each row's end."""
        padded = np.zeros((steps, len(self.lengths), packed.shape[1]), packed.dtype)
        padded[self.places] = packed
        return padded


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

    @staticmethod
    def deal(packing: Packing, slices: int) -> Rows:
        """Deal the rows out like cards, so that the slices get about the same number of steps."""
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
        return Rows(packing, order, packing.lengths[order], starts, active)

    def place(self, array: Array, *, backwards: bool) -> tuple[int, int, Array]:
        """Address, bytes from step to step, and the table of byte offsets of an array: packed if
        it has two axes. ``backwards`` takes each row from its last valid step to its first."""
        time, row = (array.strides[0],) * 2 if array.ndim == 2 else array.strides[:2]
        table = (self.packing.first if array.ndim == 2 else np.arange(len(self.order)))[self.order]
        table = table * row
        if backwards:
            table += (self.lengths - 1) * time
        return array.ctypes.data, -time if backwards else time, table

    def flags(self, resets: Array, *, backwards: bool, ahead: int) -> Array:
        """[time, batch] bytes in the kernel's order: whether the step ``ahead`` of each one, in the
        order in which they are taken, is a reset."""
        return flags(resets[:, self.order], self.lengths, backwards=backwards, ahead=ahead)


def begins(resets: Array, *, backwards: bool) -> Array:
    """[batch] bool: whether the step that is taken first is a reset, where rows have all steps."""
    found: Array = resets[-1 if backwards else 0]
    return found


def dense_flags(resets: Array, *, backwards: bool, ahead: int) -> Array:
    """What `flags` gives where rows have all steps."""
    taken = resets[::-1] if backwards else resets
    found = np.zeros(taken.shape, bool)
    found[: len(taken) - ahead] = taken[ahead:]
    return found.view(np.uint8)


def flags(resets: Array, lengths: Array, *, backwards: bool, ahead: int) -> Array:
    """For each step, in the order in which they are taken, whether the step ``ahead`` of it is a
    reset: bytes, 0 past the end. ``lengths`` [batch] are the rows'."""
    longest = int(lengths.max(initial=0))
    taken = np.arange(ahead, longest + ahead)[:, None]
    inside = taken < lengths
    time = np.where(inside, lengths - 1 - taken if backwards else taken, 0)
    return (np.take_along_axis(resets, time, axis=0) & inside).view(np.uint8)
