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
from grus.kernels.barrier import declarations, until
from grus.kernels.code import Code
from grus.kernels.compiling import compiled
from grus.kernels.ir import ATTRIBUTES, Target
from grus.kernels.slots import Slots
from grus.kernels.team import share

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


class _Slots(Slots):
    """What stands before the calls."""

    def __init__(self) -> None:
        self.names = HEAD
        self.index = {name: k for k, name in enumerate(HEAD)}


def together(parts: Sequence[Part], threads: int) -> None:
    """Run the calls on so many threads at most."""
    over = array.array("q", [0]) * len(parts)
    numbers = [threads, len(parts), 0, over.buffer_info()[0]]
    for k, part in enumerate(parts):
        if len(part.after) > 2 or not all(0 <= before < k for before in part.after):
            raise InputError(f"call {k} comes after two earlier ones at most, got {part.after}")
        numbers += (part.run, part.block.buffer_info()[0], *(*part.after, -1, -1)[:2])
    block = array.array("q", numbers)
    compiled(text, "float32").call(block.buffer_info()[0])


def text(target: Target, openmp: bool) -> str:
    """The program as LLVM text."""
    f = Code(target, "member", ["ptr %ctx", "i64 %tid", "i64 %team"], _Slots())
    count, over, taken = f.slot("count"), f.pointer("over"), f.address("taken")

    def turn(_: str, __: list[str]) -> list[str]:
        mine = f.let(f"atomicrmw add ptr {taken}, i64 1 monotonic")
        f.when(f.let(f"icmp slt i64 {mine}, {count}"), lambda: _run(f, mine, over))
        return []

    f.loop(0, count, 1, turn)
    entry = Code(target, "run", ["ptr %ctx"], _Slots(), private=False)
    parts = [until(target), f, *share(entry, openmp), entry]
    declared = sorted({*declarations(target, threads=True)}.union(*(p.externals for p in parts)))
    return "\n\n".join([*declared, *(p.text() for p in parts), ATTRIBUTES]) + "\n"


def _run(f: Code, mine: str, over: str) -> None:
    """Wait for what comes before a call, run it, mark it."""
    place = f.at("%ctx", f.add(8 * len(HEAD), f.mul(mine, 8 * len(FIELDS))))
    read = [f.let(f"load i64, ptr {f.at(place, 8 * k)}, align 8") for k in range(len(FIELDS))]
    for before in read[2:]:
        there = f.let(f"icmp sge i64 {before}, 0")
        at = f.at(over, f.mul(before, 8))
        f.when(there, lambda at=at: f.emit(f"call void @until(ptr {at})"))  # type: ignore[misc]
    function, block = (f.let(f"inttoptr i64 {number} to ptr") for number in read[:2])
    f.emit(f"call void {function}(ptr {block})")
    f.emit(f"store atomic i64 1, ptr {f.at(over, f.mul(mine, 8))} release, align 8")
