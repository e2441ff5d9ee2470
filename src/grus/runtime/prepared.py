"""Calls that are made often: all is laid out but where their buffers lie; and found again."""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from grus.errors import InputError
from grus.kernels import (
    Array,
    Frame,
    Kernel,
    Launcher,
    Sizes,
    Split,
    Terms,
    address,
    call as calls,
    choose,
    give,
    take,
)
from grus.runtime.buffer import Library, Tensor
from grus.runtime.rows import Drawn, Packing, Rows, States, Tables, dense_flags

Finish = Callable[[Frame, int], Terms]
"""What is made of the sums of a call, and of its buffers, in its frame, from so many steps of
rows."""

SPARE_BYTES = 64 * 1024
"""Memory up to this size stays with a call that is made again, where it is found at once."""
MOST_TERMS = 64
"""Numbers of valid steps whose terms are kept."""


Call = TypeVar("Call")
Key = tuple[Any, ...]


class Known(Generic[Call]):
    """Prepared calls by a few numbers and the tensors that they are for: types, dtypes, shapes,
    strides, what a library does with a tensor when it is read.

    That is a long key to make in Python and one question for a library's own `guards`, which is
    asked first about the last call that had the numbers.
    """

    MOST = 256
    """Calls kept; beyond it all are forgotten and made again."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.last: dict[Key, tuple[Callable[..., bool], tuple[int, ...], Call]] = {}
        self.every: dict[Key, Call] = {}

    def get(self, key: Key, tensors: Sequence[Tensor]) -> Call | None:
        """The last call with this key, if it was for tensors like these, of which ``key`` says how
        many there are."""
        entry = self.last.get(key)
        if entry is None:
            return None
        alike, pattern, call = entry
        if pattern:
            if any(tensors[k] is not tensors[first] for k, first in enumerate(pattern)):
                return None
            tensors = [tensors[k] for k, first in enumerate(pattern) if k == first]
        return call if alike(*tensors) else None

    def get_or_make(self, key: Key, tensors: Sequence[Tensor], make: Callable[[], Call]) -> Call:
        """The call for tensors like these, made where there is none."""
        whole = list(key)
        for tensor in tensors:
            whole += (tensor.shape, tensor.stride(), self.library.unusual(tensor))
        call = self.every.get(tuple(whole))
        if call is None:
            call = make()
            if len(self.every) >= self.MOST:
                self.every.clear()
            self.every[tuple(whole)] = call
        self.keep(key, tensors, call)
        return call

    def keep(self, key: Key, tensors: Sequence[Tensor], call: Call) -> None:
        """Keep a call for tensors like these, if the library has guards."""
        if self.library.guards is None:
            return
        if len(self.last) >= self.MOST:
            self.last.clear()
        # Guards want to see a tensor once that is given twice: where each stands first.
        places = {id(tensor): k for k, tensor in reversed([*enumerate(tensors)])}
        pattern: tuple[int, ...] = ()
        if len(places) < len(tensors):
            pattern = tuple(places[id(tensor)] for tensor in tensors)
            tensors = [tensors[k] for k in dict.fromkeys(pattern)]
        self.last[key] = self.library.guards(tensors), pattern, call


class Part(NamedTuple):
    """Where an array lies: in which buffer, bytes from its beginning, from step to step and from
    row to row. A packed one, without padding, begins ``before`` bytes later for each valid step."""

    buffer: int
    offset: int
    time: int
    row: int
    packed: bool = False
    before: int = 0


class Ragged(NamedTuple):
    """What a call with lengths (None: all rows have all steps) or resets reads beside its buffers.
    The states are [batch, size], in the caller's order; ``base`` are those that are put back, or
    collected, at ``resets``; a step is cleared where the one ``ahead`` of it is a reset."""

    packing: Packing | None
    start: States
    final: States
    base: States
    resets: Array | None
    ahead: int


class Prepared:
    """A call at certain sizes, of certain parameters: ``prepared(buffers)`` makes it.

    ``sizes`` and ``tensors`` are as in a `Launcher`'s call; ``parts`` are by slot name, ``states``
    (buffer, bytes of a row) of h0, hn, and what resets need; the last buffer holds the flags of
    resets. Masks are drawn for steps from ``first`` on, ``backwards`` or not, and for rows from
    ``row`` on. ``finish`` makes what follows each call.
    """

    def __init__(
        self,
        launcher: Launcher,
        sizes: Sizes,
        tensors: tuple[int, ...],
        parts: dict[str, Part],
        states: Sequence[tuple[int, int]],
        *,
        first: int,
        row: int,
        backwards: bool,
        finish: Finish | None = None,
    ) -> None:
        self.launcher, self.kernel = launcher, launcher.kernel
        self.finish = finish
        self.sizes, self.tensors = sizes, tensors
        self.padded = sizes.steps * sizes.batch
        self.work, self.run = self.kernel.work_of(sizes), self.kernel.compiled.call
        self.first, self.row, self.backwards = first, row, backwards
        at, ragged = self.kernel.at, self.kernel.variant.ragged
        steps = sizes.steps - 1 if backwards else 0
        self.drawn = self._drawn(np.arange(sizes.batch), np.full(sizes.batch, steps))
        self.strides: list[tuple[int, int]] = []
        self.moving: list[tuple[int, int, int]] = []
        self.tables: list[tuple[int, Part]] = []
        self.timed: list[int] = []
        for name, part in parts.items():
            if name not in at:
                continue
            slot = at[name]
            self.timed.append(slot)
            self.moving.append((slot, part.buffer, part.offset))
            self.strides.append((slot + 1, part.time))
            if ragged:
                self.tables.append((slot + 2, part))
            else:
                self.strides.append((slot + 2, part.row))
        for slot, (buffer, size) in zip(self.kernel.states, states, strict=True):
            self.moving.append((slot, buffer, 0))
            self.strides.append((slot + 1, size))
        if "clear" in at:
            self.moving.append((at["clear"], -1, 0))
        self.steps = parts["x"].time if "steps" in at and "x" in at else 0
        self.templates: dict[Split, Laid] = {}

    def _drawn(self, rows: Array, steps: Array) -> Drawn:
        sign = -1 if self.backwards else 1
        return Drawn(self.row + rows, self.first + steps, sign, self.kernel.streams)

    def _laid(self, split: Split) -> Laid:
        """What all calls of a split have in common."""
        laid = self.templates.get(split)
        if laid is None:
            frame, block, offsets = self.launcher.template(
                self.sizes, split, calls.CHUNK_BYTES, self.tensors
            )
            for slot, stride in self.strides:
                block[slot] = stride
            laid = self.templates[split] = Laid(frame, block, offsets, {}, [])
        return laid

    def __call__(
        self,
        buffers: Sequence[int],
        seed: int = 0,
        results: Sequence[int] = (),
        most_threads: int | None = None,
    ) -> None:
        """Run with the buffers at these addresses, then what follows, whose buffers are these, the
        sums, 0, then ``results``. ``seed`` is that of drawn masks."""
        # As `_laid` and `_begin`, whose calls would cost as much as a small kernel.
        split = choose(self.work, most_threads)
        try:
            laid = self.templates.get(split) or self._laid(split)
            try:
                begun = laid.spare.pop()
            except IndexError:
                begun = Begun(self.kernel, laid, split)
            if begun.zeroed is not None:
                begun.zeroed[:] = 0
            block = begun.block
            for slot, buffer, offset in self.moving:
                block[slot] = buffers[buffer] + offset
            if self.kernel.streams:
                self.drawn.put(block, self.kernel.at, seed)
            self.run(begun.address)
        finally:
            if split.by_hidden:
                split.release()
        if self.finish is None and laid.frame.bytes <= SPARE_BYTES:
            laid.spare.append(begun)
            return
        self._end(laid, begun, buffers, results, self.padded, most_threads)

    def ragged(
        self,
        buffers: Sequence[int],
        rows: Ragged,
        seed: int = 0,
        results: Sequence[int] = (),
        most_threads: int | None = None,
    ) -> None:
        """The same with lengths or resets; ``buffers`` are those before the states. Where rows have
        lengths of their own, the states are taken to the kernel's order and brought back."""
        pack, at = rows.packing, self.kernel.at
        if pack is None:
            assert rows.resets is not None
            flags = dense_flags(rows.resets, backwards=self.backwards, ahead=rows.ahead)
            where = [*buffers, *map(address, (*rows.start, *rows.final, *rows.base, flags))]
            self(where, seed, results, most_threads)
            return
        work = self.kernel.work_of(self.sizes._replace(steps=pack.longest))
        split = choose(work, most_threads)
        try:
            laid, dealt = self._laid(split), pack.deal(split.slices)
            order = dealt.order
            begin = [s.take(order, axis=0) for s in rows.start]
            end = [np.empty_like(b) for b in begin]
            base = [b.take(order, axis=0) for b in rows.base]
            states = [*begin, *end, *base]
            if rows.resets is not None:
                states.append(dealt.flags(rows.resets, self.backwards, rows.ahead))
            where = [*buffers, *map(address, states)]
            begun = self._begin(laid, split)
            block, known = begun.block, dealt.known.get(self)
            if known is None:
                known = dealt.know(self, self._tables(dealt))
            moving, fixed = known
            for slot, buffer, offset in moving:
                block[slot] = where[buffer] + offset
            for slot, number in fixed:
                block[slot] = number
            if self.kernel.streams:
                steps = dealt.lengths - 1 if self.backwards else np.zeros_like(dealt.lengths)
                drawn = self._drawn(order, steps)
                drawn.put(block, at, seed)
            self.run(begun.address)
        finally:
            if split.by_hidden:
                split.release()
        for theirs, ours in zip((*rows.final, *rows.base), (*end, *base), strict=True):
            theirs[dealt.order] = ours
        self._end(laid, begun, buffers, results, pack.valid, most_threads)

    def _tables(self, rows: Rows) -> Tables:
        """What a ragged call's block holds wherever its buffers are."""
        at, valid = self.kernel.at, rows.packing.valid
        fixed = [(at["T"], rows.packing.longest)]
        for name in ("lengths", "starts", "active"):
            fixed.append((at[name], address(getattr(rows, name))))
        before = {}
        for slot, part in self.tables:
            before[slot - 2] = part.before * valid
            fixed.append((slot, address(rows.table(part.time, part.row, part.packed))))
        if "steps" in at:
            fixed.append((at["steps"], address(rows.steps(self.steps))))
        moving = [
            (slot, buffer, offset + before.get(slot, 0)) for slot, buffer, offset in self.moving
        ]
        return moving, fixed

    def begin(self, split: Split, buffers: Sequence[int]) -> Begun:
        """A call without masks that can be run, in memory of its own."""
        begun = self._begin(self._laid(split), split)
        for slot, buffer, offset in self.moving:
            begun.block[slot] = buffers[buffer] + offset
        return begun

    def _begin(self, laid: Laid, split: Split) -> Begun:
        try:
            begun = laid.spare.pop()
        except IndexError:
            begun = Begun(self.kernel, laid, split)
        if begun.zeroed is not None:
            begun.zeroed[:] = 0
        return begun

    def later(self, begun: Begun, done: int, steps: int) -> array.array[int]:
        """The block of a call that goes on in the same memory after so many steps ``done``, for
        ``steps`` more, at most as many as it was laid out for: from the states that the call before
        it left, with weights that are packed already."""
        if self.kernel.variant.clear or self.kernel.streams:
            raise InputError("a call with resets or drawn masks does not go on in pieces")
        block, at, states = begun.block[:], self.kernel.at, self.kernel.states
        for slot in self.timed:
            block[slot] += done * block[slot + 1]
        block[at["T"]] = steps
        if done:
            block[at["packed"]] = 1
            half = len(states) // 2
            for start, final in zip(states[:half], states[half:], strict=True):
                block[start], block[start + 1] = block[final], block[final + 1]
        return block

    def end(self, begun: Begun, buffers: Sequence[int], results: Sequence[int] = ()) -> None:
        """What follows a call; then its memory is free."""
        self._end(self._laid(begun.split), begun, buffers, results, self.padded, None)

    def _end(
        self,
        laid: Laid,
        begun: Begun,
        buffers: Sequence[int],
        results: Sequence[int],
        rows: int,
        most_threads: int | None,
    ) -> None:
        if self.finish is not None:
            terms = laid.terms.get(rows)
            if terms is None:
                if len(laid.terms) >= MOST_TERMS:
                    laid.terms.clear()
                terms = laid.terms[rows] = self.finish(laid.frame, rows)
            terms((*buffers, begun.held[1] + laid.frame.sums, 0, *results), most_threads)
        if laid.frame.bytes <= SPARE_BYTES:
            laid.spare.append(begun)
        else:
            give(begun.held[0])


@dataclass(frozen=True, slots=True)
class Laid:
    """What the calls of a split have in common; ``spare`` are those that can be made again."""

    frame: Frame
    block: array.array[int]
    offsets: list[int]
    terms: dict[int, Terms]
    """By steps of rows."""
    spare: list[Begun]


class Begun:
    """A call that is laid out, to be run by its address and then ended."""

    __slots__ = ("address", "block", "held", "split", "zeroed")

    def __init__(self, kernel: Kernel, laid: Laid, split: Split) -> None:
        self.split, self.block = split, laid.block[:]
        self.address = self.block.buffer_info()[0]
        self.held = take(laid.frame.bytes)
        self.zeroed = kernel.place(self.held, laid.frame, self.block, laid.offsets, split)
