"""What a program of the loop language means: it is run in NumPy, lane by lane the same numbers as
on a machine. Slow, readable, the definition that printers are compared with.

Memory is this process's own: a program is called with the address of a block, as compiled code is.
Threads of a region run one at a time, each until it waits; two that touch the same memory, one of
them writing, with no barrier and no post between them, are a race and raise LoopError.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from grus.kernels.arithmetic import constant, dtype_of, meaning
from grus.kernels.loops import (
    BYTES,
    FUNCTION,
    INDEX,
    Argument,
    Block,
    Do,
    For,
    Form,
    Function,
    If,
    Let,
    LoopError,
    Program,
    Reference,
    Type,
    Value,
)

Array = np.ndarray[Any, np.dtype[Any]]
Running = Generator[tuple[str, int, int], None, None]
"""A thread: it gives what it waits for, (effect, address, parties)."""
Known = dict[Value, Any]
GRAIN = 4
"""Bytes of memory that are watched together."""

programs: dict[int, Evaluation] = {}
"""Programs by their addresses, as others call them."""


class Watch:
    """Which thread has touched what, and what each thread knows of the others: a vector clock."""

    def __init__(self, team: int) -> None:
        self.clocks = [[int(i == k) for i in range(team)] for k in range(team)]
        self.writes: dict[int, dict[int, int]] = {}
        self.reads: dict[int, dict[int, int]] = {}
        self.posted: dict[int, list[int]] = {}

    def touch(self, thread: int, address: int, size: int, kind: str) -> None:
        """Raise LoopError where another thread has touched this without this one's knowing.

        ``kind`` is "reads", "writes", or "rewrites" for writing what stands there already: several
        threads may do so, and each may then read it.
        """
        clock = self.clocks[thread]
        for grain in range(address // GRAIN, (address + size - 1) // GRAIN + 1):
            writes = self.writes.setdefault(grain, {})
            others = {} if thread in writes or kind == "rewrites" else writes
            if kind == "writes":
                others = writes | self.reads.get(grain, {})
            for other, when in others.items():
                if other != thread and clock[other] < when:
                    raise LoopError(f"thread {thread} {kind} what thread {other} has touched")
            if kind == "writes":
                writes.clear()
                self.reads.pop(grain, None)
            if kind == "reads":
                self.reads.setdefault(grain, {})[thread] = clock[thread]
            else:
                writes[thread] = clock[thread]

    def forget(self, address: int, size: int) -> None:
        """This memory is new."""
        for grain in range(address // GRAIN, (address + size - 1) // GRAIN + 1):
            self.writes.pop(grain, None)
            self.reads.pop(grain, None)

    def meet(self, threads: Sequence[int]) -> None:
        """All of these know what each has done."""
        joined = [max(clocks) for clocks in zip(*(self.clocks[t] for t in threads), strict=True)]
        for thread in threads:
            self.clocks[thread] = list(joined)
            self.clocks[thread][thread] += 1

    def post(self, thread: int, flag: int) -> None:
        """Who waits for the flag will know what this thread has done."""
        self.posted[flag] = list(self.clocks[thread])
        self.clocks[thread][thread] += 1

    def pass_on(self, thread: int, flag: int) -> None:
        """The thread has waited for the flag."""
        pairs = zip(self.clocks[thread], self.posted.get(flag, self.clocks[thread]), strict=True)
        self.clocks[thread] = [max(pair) for pair in pairs]


class Thread:
    """One thread of a program: its number, and what it keeps alive."""

    def __init__(self, program: Program, number: int, watch: Watch | None) -> None:
        self.program, self.number, self.watch = program, number, watch

    def call(self, function: Any, arguments: Sequence[Any]) -> Running:
        """Run a function of this program, or another program."""
        if isinstance(function, Evaluation):
            yield from Thread(function.program, self.number, self.watch).call(
                function.program.by_name["run"], arguments
            )
            return
        if len(arguments) != len(function.parameters):
            raise LoopError(f"{function.name} does not take {len(arguments)} arguments")
        known: Known = dict(zip(function.parameters, arguments, strict=True))
        kept: list[Any] = []  # what is local lives as long as the call
        yield from self.block(function.body, known, kept)

    def block(self, block: Block, known: Known, kept: list[Any]) -> Running:
        """Run statements."""
        for s in block:
            if isinstance(s, Let):
                known[s.value] = self.value(s, known, kept)
            elif isinstance(s, For):
                yield from self.loop(s, known, kept)
            elif isinstance(s, If):
                if known[s.bit]:
                    yield from self.block(s.body, known, kept)
            else:
                yield from self.effect(s, known)

    def loop(self, s: For, known: Known, kept: list[Any]) -> Running:
        """Run a loop."""
        index, stop, step = (self.read(a, INDEX, known) for a in (s.start, s.stop, s.step))
        for value, first in zip(s.carried, s.first, strict=True):
            known[value] = self.read(first, value.type, known)
        while index < stop:
            known[s.index] = index
            yield from self.block(s.body, known, kept)
            pairs = zip(s.carried, s.after, strict=True)
            after = [self.read(a, value.type, known) for value, a in pairs]
            known.update(zip(s.carried, after, strict=True))
            index += step

    def read(self, argument: Argument, of: Type, known: Known) -> Any:
        """An argument's value."""
        if isinstance(argument, Value):
            return known[argument]
        if isinstance(argument, Reference):
            return self.program.by_name[argument.name]
        return constant(argument, of)

    def value(self, s: Let, known: Known, kept: list[Any]) -> Any:
        """What an operation gives."""
        form = s.form
        types, gives = _definition(form)
        operands = [
            known[a] if isinstance(a, Value) else constant(a, of)
            for a, of in zip(s.arguments, types, strict=True)
        ]
        if gives:
            return gives(*operands)
        if form.operation == "load":
            return self.load(form.type, *operands)
        if form.operation == "take":
            now = self.get(operands[0], INDEX, 1)[0]
            self.put(operands[0], now + 1)
            return int(now)
        if form.operation == "local":
            size, align = operands
            kept.append(ctypes.create_string_buffer(b"\xff" * (size + align)))
            first = ctypes.addressof(kept[-1])
            if self.watch:
                self.watch.forget(first, size + align)
            return first + -first % align
        return programs[operands[0]]

    # Memory.

    def load(self, type_: Type, address: int, mask: Array | None = None) -> Any:
        """What stands there; 0 in lanes that are masked out, which are not touched."""
        lanes = type_.lanes or 1
        if mask is None:
            self.touch(address, lanes * BYTES[type_.kind], "reads")
            numbers = self.get(address, type_, lanes)
            whole = not type_.lanes and "float" not in type_.kind  # one integer is Python's
            return int(numbers[0]) if whole else numbers if type_.lanes else numbers[0]
        result = np.zeros(lanes, dtype_of(type_))
        for first, end in _runs(mask):
            at = address + first * BYTES[type_.kind]
            self.touch(at, (end - first) * BYTES[type_.kind], "reads")
            result[first:end] = self.get(at, type_, end - first)
        return result

    def store(self, of: Type, value: Any, address: int, mask: Array | None = None) -> None:
        """Write a number, a vector, or its lanes of a mask."""
        array = np.atleast_1d(np.asarray(value, dtype_of(of)))
        for first, end in [(0, of.lanes or 1)] if mask is None else _runs(mask):
            self.write(address + first * array.itemsize, array[first:end].tobytes())

    def get(self, address: int, type_: Type, count: int) -> Array:
        """So many numbers."""
        held = ctypes.string_at(address, count * BYTES[type_.kind])
        return np.frombuffer(held, dtype_of(type_))

    def write(self, address: int, held: bytes) -> None:
        """Write bytes."""
        same = self.watch and ctypes.string_at(address, len(held)) == held
        self.touch(address, len(held), "rewrites" if same else "writes")
        ctypes.memmove(address, held, len(held))

    def put(self, address: int, number: int) -> None:
        """Write an integer that threads share on purpose."""
        ctypes.memmove(address, np.int64(number).tobytes(), 8)

    def touch(self, address: int, size: int, kind: str) -> None:
        """Note what this thread touches, where there are several."""
        if self.watch:
            self.watch.touch(self.number, address, size, kind)

    # Effects.

    def effect(self, s: Do, known: Known) -> Running:
        """Run an effect."""
        of = s.of if s.effect == "store" else INDEX
        operands = [self.read(a, of, known) for a in s.arguments]
        if s.effect == "store":
            self.store(s.of, *operands)
        elif s.effect == "copy":
            to, source, size = operands
            self.touch(source, size, "reads")
            self.write(to, ctypes.string_at(source, size))
        elif s.effect == "call":
            callee = self.program.by_name[str(s.detail)] if s.detail else operands.pop(0)
            yield from self.call(callee, operands)
        elif s.effect == "parallel":
            yield from self.parallel(self.program.by_name[str(s.detail)], *operands)
        elif s.effect == "post":
            self.put(operands[0], 1)
            if self.watch:
                self.watch.post(self.number, operands[0])
                yield ("turn", 0, 0)  # others may go on before this thread does
        elif s.effect == "await":
            if not _posted(operands[0]):
                yield ("await", operands[0], 0)
            if self.watch:
                self.watch.pass_on(self.number, operands[0])
        elif operands[1] > 1:
            yield ("barrier", *operands)

    def parallel(self, function: Function, context: int, count: int) -> Running:
        """All threads of a region, or this one alone."""
        if count <= 1:
            yield from self.call(function, (context, 0, 1))
            return
        watch = Watch(count)
        threads = [Thread(self.program, k, watch) for k in range(count)]
        in_step([t.call(function, (context, t.number, count)) for t in threads], watch)


def in_step(threads: Sequence[Running], watch: Watch) -> None:
    """Run threads by turns, each until it waits. Raises LoopError where all wait for ever."""
    waits: dict[int, tuple[str, int, int]] = {}
    going = set(range(len(threads)))
    while going:
        ready = [t for t in going if t not in waits]
        for t in ready[::-1]:
            try:
                waits[t] = next(threads[t])
            except StopIteration:
                going.remove(t)
        free = [t for t in waits if _free(waits[t], waits)]
        if not free and not ready:
            raise LoopError(f"threads {sorted(going)} wait for ever")
        for address in {waits[t][1] for t in free if waits[t][0] == "barrier"}:
            watch.meet([t for t in waits if waits[t][:2] == ("barrier", address)])
        for t in free:
            del waits[t]


def _free(wait: tuple[str, int, int], waits: dict[int, tuple[str, int, int]]) -> bool:
    """Whether a thread may go on."""
    effect, address, parties = wait
    if effect != "barrier":
        return effect == "turn" or _posted(address)
    return sum(other == wait for other in waits.values()) == parties


def _posted(flag: int) -> bool:
    """Whether a thread has set this number."""
    return ctypes.string_at(flag, 8) != bytes(8)


@lru_cache(maxsize=4096)
def _definition(form: Form) -> tuple[tuple[Type, ...], Any]:
    """The types that constants have as arguments of an operation; the function that gives its
    value, None where memory or other programs do."""
    types = (form.of,) * len(form.types)
    if form.operation == "select":
        types = (form.of, form.type, form.type)
    elif form.operation in ("at", "local"):
        types = (INDEX,) * len(form.types)
    outside = form.operation in ("load", "take", "local") or form.type is FUNCTION
    return types, None if outside else meaning(form)


def _runs(mask: Array) -> Iterator[tuple[int, int]]:
    """The stretches of set lanes."""
    lanes = mask.tobytes()
    first = lanes.find(1)
    while first >= 0:
        end = lanes.find(0, first) % (len(lanes) + 1)  # -1 is the end
        yield first, end
        first = lanes.find(1, end)


class Evaluation:
    """A program to be called as compiled code is: with the address of its block."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.address = id(self)
        programs[self.address] = self

    def call(self, block: int) -> None:
        """Run it."""
        with np.errstate(all="ignore"):
            for _ in Thread(self.program, 0, None).call(self.program.by_name["run"], (block,)):
                raise LoopError("a thread alone waits for ever")
