"""Several calls at once, a thread each: the directions of a layer, layers one behind the other.

The calls are listed in an order in which they could run one after the other. Threads take the next
one that nobody has taken, wait until those that it comes after are over, and run it. Whatever the
number of threads, one of them can always go on.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from dataclasses import dataclass

from grus.errors import InputError
from grus.kernels.argument_block import Slots
from grus.kernels.builder import SlotBuilder
from grus.kernels.jit import compiled
from grus.kernels.loops import FUNCTION, Program, Value
from grus.kernels.machine import Target

HEAD = ("threads", "count", "taken", "over")
"""Threads asked for, how many calls, how many of them are taken, where those that are over are
marked."""
FIELDS = ("run", "block", "first", "second")
"""Of a call: its program's address and its block's; the calls that it comes after, or -1."""


@dataclass(frozen=True)
class Part:
    """A call on one thread: a compiled program, its block, and the earlier calls, two at most, that
    it comes after."""

    run: int
    block: array.array[int]
    after: tuple[int, ...] = ()


def together(parts: Sequence[Part], threads: int) -> None:
    """Run the calls on so many threads at most."""
    over = array.array("q", [0]) * len(parts)
    numbers = [threads, len(parts), 0, over.buffer_info()[0]]
    for k, part in enumerate(parts):
        if len(part.after) > 2 or not all(0 <= before < k for before in part.after):
            raise InputError(f"call {k} comes after two earlier ones at most, got {part.after}")
        numbers += (part.run, part.block.buffer_info()[0], *(*part.after, -1, -1)[:2])
    block = array.array("q", numbers)
    compiled(loops, "float32").call(block.buffer_info()[0])


def loops(target: Target) -> Program:
    """The program."""
    f = SlotBuilder(target, "member", "tid, team", Slots(HEAD))
    count, over, taken = f.slot("count"), f.pointer("over"), f.place("taken")
    with f.each(0, count, 1):
        number = f.let("take", taken)
        with f.when(f.let("less", number, count)):
            _run(f, number, over)
    entry = SlotBuilder(target, "run", "", Slots(HEAD))
    entry.do("parallel", entry.ctx, entry.slot("threads"), detail="member")
    return Program((f.finished(), entry.finished()))


def _run(f: SlotBuilder, number: Value, over: Value) -> None:
    """Wait for what comes before a call, run it, mark it."""
    place = f.at(f.ctx, f.add(8 * len(HEAD), f.mul(number, 8 * len(FIELDS))))
    function, block, *before = (f.entry(place, k) for k in range(len(FIELDS)))
    for call in before:
        with f.when(f.let("at_least", call, 0)):
            f.do("await", f.at(over, f.mul(call, 8)))
    f.call(f.let("address", function, type=FUNCTION), f.let("address", block))
    f.do("post", f.at(over, f.mul(number, 8)))
