"""Calls that are made often: all is laid out but where their buffers lie."""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.errors import InputError
from grus.kernels.call import CHUNK_BYTES, Kernel, Launcher
from grus.kernels.frame import Frame, Sizes
from grus.kernels.masks import LOW
from grus.kernels.memory import give, take
from grus.kernels.split import Split, choose
from grus.kernels.terms import Terms

Array = np.ndarray[Any, np.dtype[Any]]
Part = tuple[int, int, int, int]
"""Where an array lies in a buffer: which one, bytes from its beginning, from step to step and from
row to row."""
Finish = Callable[[Frame], Terms]
"""What is made of the sums of a call, and of its buffers, in its frame."""

SPARE_BYTES = 64 * 1024
"""Memory up to this size stays with a call that is made again, where it is found at once."""


class Prepared:
    """A call at certain sizes, of certain parameters: ``prepared(buffers)`` makes it.

    ``sizes`` and ``tensors`` are as in a `Launcher`'s call; ``arrays`` are by slot name, ``states``
    (buffer, bytes of a row) of h0, hn, and what resets need. Masks are drawn for steps from
    ``first`` [batch] on, 1 or -1 (``sign``) from step to step. ``finish`` makes what follows each
    call.
    """

    def __init__(
        self,
        launcher: Launcher,
        sizes: Sizes,
        tensors: tuple[int, ...],
        arrays: Mapping[str, Part],
        states: Sequence[tuple[int, int]],
        first: Array,
        sign: int,
        finish: Finish | None = None,
    ) -> None:
        self.launcher, self.kernel = launcher, launcher.kernel
        self.finish = finish
        self.sizes, self.tensors = sizes, tensors
        self.work, self.run = self.kernel.work_of(sizes), self.kernel.compiled.call
        self.drawn = drawn(self.kernel, np.arange(sizes[1]), first, sign)
        at = self.kernel.at
        self.strides: list[tuple[int, int]] = []
        self.moving: list[tuple[int, int, int]] = []
        self.timed: list[int] = []
        for name, (buffer, offset, time, row) in arrays.items():
            if name in at:
                slot = at[name]
                self.timed.append(slot)
                self.moving.append((slot, buffer, offset))
                self.strides += [(slot + 1, time), (slot + 2, row)]
        for slot, (buffer, row) in zip(self.kernel.states, states, strict=True):
            self.moving.append((slot, buffer, 0))
            self.strides.append((slot + 1, row))
        if "clear" in at:
            self.moving.append((at["clear"], -1, 0))
        self.templates: dict[Split, Laid] = {}

    def _laid(self, split: Split) -> Laid:
        """What all calls of a split have in common."""
        found = self.templates.get(split)
        if found is None:
            frame, block, offsets = self.launcher._template(
                self.sizes, split, CHUNK_BYTES, self.tensors
            )
            for slot, stride in self.strides:
                block[slot] = stride
            terms = self.finish(frame) if self.finish else None
            found = self.templates[split] = Laid(frame, block, offsets, terms, [])
        return found

    def __call__(self, buffers: Sequence[int], seed: int = 0, results: Sequence[int] = ()) -> None:
        """Run with the buffers at these addresses, then what follows, whose buffers are these, the
        sums, 0, then ``results``. ``seed`` is that of drawn masks; where states are put back, the
        last buffer holds the flags."""
        with choose(self.work, None) as split:
            laid = self._laid(split)
            one = self._begin(laid, split, buffers, seed)
            self.run(one.address)
        self._end(laid, one, buffers, results)

    def begin(self, split: Split, buffers: Sequence[int], seed: int = 0) -> Begun:
        """A call that can be run, in memory of its own."""
        return self._begin(self._laid(split), split, buffers, seed)

    def _begin(self, laid: Laid, split: Split, buffers: Sequence[int], seed: int) -> Begun:
        try:
            one = laid.spare.pop()
        except IndexError:
            one = Begun(self.kernel, laid, split)
        block = one.block
        for slot, buffer, offset in self.moving:
            block[slot] = buffers[buffer] + offset
        if self.kernel.streams:
            for name, number in self.drawn.slots(seed).items():
                block[self.kernel.at[name]] = number
        if one.zeroed is not None:
            one.zeroed[:] = 0
        return one

    def later(self, one: Begun, done: int, steps: int) -> array.array[int]:
        """The block of a call that goes on in the same memory after so many steps ``done``, for
        ``steps`` more, at most as many as it was laid out for: from the states that the call before
        it left, with weights that are packed already."""
        if self.kernel.variant.clear or self.kernel.streams:
            raise InputError("a call with resets or drawn masks does not go on in pieces")
        block, at, states = one.block[:], self.kernel.at, self.kernel.states
        for slot in self.timed:
            block[slot] += done * block[slot + 1]
        block[at["T"]] = steps
        if done:
            block[at["packed"]] = 1
            half = len(states) // 2
            for start, final in zip(states[:half], states[half:], strict=True):
                block[start], block[start + 1] = block[final], block[final + 1]
        return block

    def end(self, one: Begun, buffers: Sequence[int], results: Sequence[int] = ()) -> None:
        """What follows a call; then its memory is free."""
        self._end(self._laid(one.split), one, buffers, results)

    def _end(self, laid: Laid, one: Begun, buffers: Sequence[int], results: Sequence[int]) -> None:
        if laid.terms is not None:
            laid.terms((*buffers, one.held[1] + laid.frame.sums, 0, *results))
        if laid.frame.bytes <= SPARE_BYTES:
            laid.spare.append(one)
        else:
            give(one.held[0])


@dataclass(frozen=True, slots=True)
class Laid:
    """What the calls of a split have in common; ``spare`` are those that can be made again."""

    frame: Frame
    block: array.array[int]
    offsets: list[int]
    terms: Terms | None
    spare: list[Begun]


class Begun:
    """A call that is laid out, to be run by its address and then ended."""

    __slots__ = ("address", "block", "held", "split", "zeroed")

    def __init__(self, kernel: Kernel, laid: Laid, split: Split) -> None:
        self.split, self.block = split, laid.block[:]
        self.address = self.block.buffer_info()[0]
        self.held = take(laid.frame.bytes)
        self.zeroed = kernel.place(self.held, laid.frame, self.block, laid.offsets, split)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What drawn masks depend on, beside the unit: [batch] the caller's row and the time of the
    first step of each row, 1 or -1 from step to step, the stream of each mask."""

    rows: Array
    first: Array
    sign: int
    streams: Mapping[str, int]

    def slots(self, seed: int) -> dict[str, int]:
        """The slots and what they hold; the arrays live as long as this does."""
        return {
            "seed.low": seed & LOW,
            "seed.high": seed >> 32 & LOW,
            "mask.rows": self.rows.__array_interface__["data"][0],
            "mask.first": self.first.__array_interface__["data"][0],
            "mask.sign": self.sign,
            **self.streams,
        }


def drawn(kernel: Kernel, rows: Array, first: Array, sign: int) -> Drawn:
    """The masks of a call; ``rows`` are the caller's, in the kernel's order."""
    return Drawn(rows, first, sign, kernel.streams)
