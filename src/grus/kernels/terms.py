"""Products after a kernel, many in one call: what a library's product costs before it begins would
be most of the time of a small one, and a long one is a kernel of its own (`matrices`).

A `Term` is C[i, j] = sum over k of A[i, k] * B[i, k, j], or adds that to C; strides of 0 make it a
product of matrices, an outer product, a sum over k or a copy, and no k at all makes C zero.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from grus.kernels import jit, matrices, threads
from grus.kernels.argument_block import Slots
from grus.kernels.builder import SlotBuilder
from grus.kernels.loops import Program, Value
from grus.kernels.machine import DType, Target, item_bytes
from grus.kernels.memory import address, give, take
from grus.kernels.split import FAST, WAKE

Array = np.ndarray[Any, np.dtype[Any]]
Side = tuple[int, int, int, int]
"""Which buffer, bytes from its beginning, from k to k, from i to i."""
FIELDS = (
    *("a", "a.k", "a.i", "b", "b.k", "b.i", "c", "c.i"),
    *("rows", "columns", "depth", "adds", "first", "whole", "large"),
)
HEAD = ("threads", "scratch", "count")
"""What stands before the terms: threads asked for, memory for packing, how many terms."""
LARGE, LARGE_ROWS, LARGE_DEPTH = 4096, 3, 4
"""Multiply-adds, rows and numbers along k from which packing pays."""


@dataclass(frozen=True)
class Term:
    """One product. ``a`` and ``b`` are read, ``c`` is (buffer, bytes from its beginning, from i to
    i); ``size`` is the number of i, j and k; ``adds`` to what C holds.

    ``part`` is (first row, rows of all) of C in what several terms make together: threads share
    those rows, so that terms of the same rows follow each other.
    """

    a: Side
    b: Side
    c: tuple[int, int, int]
    size: tuple[int, int, int]
    adds: bool = False
    part: tuple[int, int] | None = None

    @property
    def operations(self) -> int:
        """Multiply-adds."""
        rows, columns, depth = self.size
        return rows * columns * depth

    def large(self, item: int) -> bool:
        """Whether it is a product of matrices for which packing pays."""
        rows, _, depth = self.size
        enough = self.operations >= LARGE and rows >= LARGE_ROWS and depth >= LARGE_DEPTH
        return enough and self.b[3] == 0 and item in self.a[2:]

    @property
    def whole(self) -> tuple[int, int]:
        """The first row in what several terms make together, and the rows of all of that."""
        return self.part or (0, self.size[0])

    def numbers(self, item: int) -> tuple[int, ...]:
        """The fields, addresses left out."""
        (_, _, a_k, a_i), (_, _, b_k, b_i), (_, _, c_i) = self.a, self.b, self.c
        strides = (0, a_k, a_i, 0, b_k, b_i, 0, c_i)
        return *strides, *self.size, int(self.adds), *self.whole, int(self.large(item))


class Terms:
    """Terms to be worked out one after the other, wherever their buffers lie."""

    def __init__(self, dtype: DType, terms: Sequence[Term]) -> None:
        self.program = jit.compiled(loops, dtype)
        item = item_bytes(dtype)
        numbers = [0, 0, len(terms)]
        self.moving: list[tuple[int, int, int]] = []
        for term in terms:
            at = len(numbers)
            for field, side in ((0, term.a), (3, term.b), (6, term.c)):
                self.moving.append((at + field, side[0], side[1]))
            numbers += term.numbers(item)
        self.block = array.array("q", numbers)
        blocks = matrices.Blocks(Target(jit.host(), dtype))
        self.scratch = blocks.scratch
        self.packs = any(term.large(item) for term in terms)
        self.tiles = max([-(-term.whole[1] // blocks.rows) for term in terms], default=1)
        self.many = sum(term.operations for term in terms) >= 2 * WAKE * FAST

    def __call__(self, buffers: Sequence[int], most_threads: int | None = None) -> None:
        """Work the terms out; ``buffers`` are addresses, and what lies there lives till the end."""
        block = self.block[:]
        for slot, buffer, offset in self.moving:
            block[slot] = buffers[buffer] + offset
        team = 1
        if self.many and most_threads != 1:
            limit = threads.limit()
            team = max(1, min(limit, self.tiles, most_threads or limit))
        block[0] = team
        if not self.packs:
            self.program.call(block.buffer_info()[0])
            return
        memory, block[1] = take(self.scratch * team)
        self.program.call(block.buffer_info()[0])
        give(memory)


def loops(target: Target) -> Program:
    """All terms as a program: each thread works out rows of its own of every result."""
    member = SlotBuilder(target, "member", "tid, team", Slots(HEAD), nearest=True)
    tid, _ = member.rest
    offset = member.mul(tid, matrices.Blocks(target).scratch)
    scratch = member.at(member.pointer("scratch"), offset)
    with member.each(0, member.slot("count"), 1) as index:
        at = member.add(8 * len(HEAD), member.mul(index, 8 * len(FIELDS)))
        _term(member, member.at(member.ctx, at), scratch)
    entry = SlotBuilder(target, "run", "", Slots(HEAD))
    entry.do("parallel", entry.ctx, entry.slot("threads"), detail="member")
    parts = [*matrices.functions(target), member, entry]
    return Program(tuple(f.finished() for f in parts))


def _term(f: SlotBuilder, place: Value, scratch: Value) -> None:
    """This thread's rows of a term."""
    (tid, team), term = f.rest, {}
    for k, name in enumerate(FIELDS):
        number = f.entry(place, k)
        term[name] = f.let("address", number) if name in matrices.POINTERS else number
    unit = matrices.Blocks(f.target).rows
    tiles = f.let("div", f.add(term["whole"], unit - 1), unit)
    low, high = (
        f.sub(f.mul(f.let("div", f.mul(thread, tiles), team), unit), term["first"])
        for thread in (tid, f.add(tid, 1))
    )
    first = f.let("select", f.let("less", low, 0), 0, low)
    end = f.smaller(high, term["rows"])
    large, some = f.let("differ", term["large"], 0), f.let("less", first, end)
    # A thread may have no rows: it packs nothing then.
    with f.when(f.let("and", large, some)):
        f.call("matrices", *(term[name] for name in matrices.FIELDS), scratch, first, end)
    with f.when(f.let("xor", large, True)):
        matrices.small(f, term, first, end)


ADDED = ("first", "second", "sum", "count")
"""Two addresses to read, one to write, how many numbers."""


def add(first: Array, second: Array) -> Array:
    """``first + second``, elementwise: two contiguous arrays of one shape, both float32 or both
    float64. The result is new.

    Rounded to nearest, denormals kept in any thread: a gate whose bias is kept in two parts gets
    their sum before a kernel runs, and NumPy and torch would add in the calling thread's mode,
    where ``torch.set_flush_denormal`` makes small sums 0.
    """
    total = np.empty(first.shape, first.dtype)
    block = array.array("q", [*(address(a) for a in (first, second, total)), first.size])
    jit.compiled(sum_loops, cast("DType", first.dtype.name)).call(block.buffer_info()[0])
    return total


def sum_loops(target: Target) -> Program:
    """The addition as a program of one thread."""
    f = SlotBuilder(target, "run", "", Slots(ADDED), nearest=True)
    first, second, total = (f.pointer(name) for name in ADDED[:3])
    count = f.slot("count")
    with f.each(0, count, target.lanes) as k:
        at, mask = f.mul(k, target.item), f.lanes_below(f.sub(count, k))
        a, b = (f.load_masked(f.at(p, at), mask) for p in (first, second))
        f.store_masked(f.let("add", a, b), f.at(total, at), mask)
    return Program((f.finished(),))
