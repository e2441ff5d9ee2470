"""Building a function of the loop language for a machine, statement by statement.

The lowering calls these methods; nothing here or there knows how a machine spells what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import grus.kernels.loops_text  # noqa: F401  gives programs their text
from grus.kernels import loops
from grus.kernels.argument_block import (
    MOVED,
    MOVING,
    CellSlots,
    Slots,
    Variant,
    size_slot,
    tiles_slot,
)
from grus.kernels.loops import (
    INDEX,
    INT32,
    LANES,
    POINTER,
    Argument,
    Block,
    Detail,
    Do,
    For,
    If,
    Let,
    Type,
    Value,
    kinds,
    type_of,
)
from grus.kernels.machine import Target
from grus.kernels.operations import allowed, signature
from grus.kernels.plan import Plan

Widths = tuple[int, ...]
Shapes = tuple[tuple[int, Widths], ...]
Range = tuple[Argument, Argument]
Tiles = Callable[[int, int, Range, Range], None]


class Loop:
    """A loop being built: ``index``, and what it carries from one turn to the next."""

    def __init__(self, index: Value, carried: tuple[Value, ...], after: list[Argument]) -> None:
        self.index, self.carried, self.after = index, carried, after

    def next(self, *values: Argument) -> None:
        """What is carried to the next turn."""
        self.after[:] = values


class Builder:
    """One function being built. ``parameters`` is "name: type, name, ...": an index where no type
    is written. ``named`` has them by name; ``flags`` are those of `loops.Function`."""

    def __init__(self, target: Target, name: str, parameters: str, **flags: bool) -> None:
        self.target, self.name, self.flags = target, name, flags
        self.body = self.block = Block()
        self.count = 0
        self.named: dict[str, Value] = {}
        for parameter in parameters.split(", "):
            called, _, kind = parameter.partition(": ")
            self.named[called] = Value(called, type_of(kind or "index"), self.body)
        self.parameters = tuple(self.named.values())

    def finished(self) -> loops.Function:
        """The function."""
        self.body.open = False
        return loops.Function(self.name, self.parameters, self.body, **self.flags)

    def let(
        self,
        operation: str,
        *arguments: Argument,
        type: Type | None = None,
        detail: Detail = None,
    ) -> Value:
        """The value of an operation (`loops.OPERATIONS`)."""
        form = signature(operation, kinds(arguments), type, detail)
        self.count += 1
        value = Value(f"v{self.count}", form.type, self.block)
        self.block.append(Let(value, form, arguments))
        return value

    def do(
        self, effect: str, *arguments: Argument, of: Type = INDEX, detail: Detail = None
    ) -> None:
        """An effect."""
        allowed(effect, kinds(arguments), of)
        self.block.append(Do(effect, arguments, of, detail))

    def call(self, function: str | Value, *arguments: Argument | str) -> None:
        """Call a function of the program, or one that is a value; an argument that is a function
        is its `Reference`."""
        if isinstance(function, Value):
            self.do("call", function, *arguments)  # type: ignore[arg-type]
        else:
            self.do("call", *arguments, detail=function)  # type: ignore[arg-type]

    # Integers and addresses.

    def add(self, a: Argument, b: Argument) -> Argument:
        """a + b; nothing is done where one is the integer 0."""
        if a.__class__ is int:
            if b.__class__ is int:
                return a + b
            if a == 0:
                return b
        elif b.__class__ is int and b == 0:
            return a
        return self.let("add", a, b)

    def sub(self, a: Argument, b: Argument) -> Value:
        """a - b."""
        return self.let("sub", a, b)

    def mul(self, a: Argument, b: Argument) -> Argument:
        """a * b; nothing is done where one is the integer 0 or 1."""
        if a.__class__ is int:
            if b.__class__ is int:
                return a * b
            if a in (0, 1):
                return b if a else 0
        elif b.__class__ is int and b in (0, 1):
            return a if b else 0
        return self.let("mul", a, b)

    def smaller(self, a: Argument, b: Argument) -> Value:
        """The smaller of two."""
        return self.let("select", self.let("less", a, b), a, b)

    def cover(self, first: Argument, end: Argument, rows: int) -> Argument:
        """The end of the rows that whole tiles of ``rows`` cover."""
        if rows == 1:
            return end
        whole = self.let("div", self.sub(end, first), rows)
        return self.add(first, self.mul(whole, rows))

    def at(self, pointer: Value, offset: Argument) -> Value:
        """The address ``offset`` bytes past a pointer."""
        if offset.__class__ is int and offset == 0:
            return pointer
        return self.let("at", pointer, offset)

    def entry(self, table: Value, index: Argument) -> Value:
        """A number of a table of 64-bit numbers."""
        return self.let("load", self.at(table, self.mul(index, 8)), type=INDEX, detail=8)

    def local(self, bytes: int, align: int) -> Value:
        """Memory of this call of the function alone."""
        return self.let("local", bytes, align)

    # Vectors of the target.

    def load(self, pointer: Value, align: int | None = None) -> Value:
        """A vector, aligned to its own width by default."""
        t = self.target
        return self.let("load", pointer, type=t.vector, detail=align or t.machine.vector_bytes)

    def store(self, value: Argument, pointer: Value, align: int | None = None) -> None:
        """Store a vector, aligned as in `load`."""
        t = self.target
        self.do("store", value, pointer, of=t.vector, detail=align or t.machine.vector_bytes)

    def load_masked(self, pointer: Value, mask: Value, lanes: int = 0) -> Value:
        """The lanes of the mask, 0 elsewhere; nothing outside it is touched. A vector of the
        machine's width, or of so many lanes."""
        vector = type_of(self.target.dtype, lanes) if lanes else self.target.vector
        return self.let("load", pointer, mask, type=vector, detail=1)

    def store_masked(self, value: Argument, pointer: Value, mask: Value) -> None:
        """Store the lanes of the mask only."""
        self.do("store", value, pointer, mask, of=self.target.vector, detail=1)

    def splat(self, number: Value, vector: Type | None = None) -> Value:
        """A number in every lane."""
        return self.let("splat", number, type=vector or self.target.vector)

    def broadcast(self, pointer: Value) -> Value:
        """The number at an address in every lane; the address need not be aligned."""
        return self.splat(self.let("load", pointer, type=self.target.number, detail=1))

    def multiply_add(self, a: Argument, b: Argument, c: Argument) -> Value:
        """a * b + c, rounded once where the machine can (a library call would be ruinous)."""
        if self.target.machine.fma:
            return self.let("fma", a, b, c)
        return self.let("add", self.let("mul", a, b), c)

    def lanes_below(self, count: Argument, lanes: int = 0) -> Value:
        """The mask of the first ``count`` lanes (none for 0 and less, all from the width up), of
        the machine's width or of so many lanes."""
        t, n = self.target, lanes or self.target.lanes
        limit = self.smaller(count, n)
        limit = limit if t.item == 8 else self.let("convert", limit, type=INT32)
        return self.let("less", LANES, self.splat(limit, type_of(t.integer.kind, n)))

    def lanes_between(self, first: Argument, end: Argument) -> Value:
        """The mask of the lanes from ``first`` to ``end``, of the machine's width."""
        outside = self.let("xor", self.lanes_below(first), True)
        return self.let("and", outside, self.lanes_below(end))

    # Control.

    @contextmanager
    def loop(
        self, start: Argument, stop: Argument, step: Argument, first: Sequence[Argument] = ()
    ) -> Iterator[Loop]:
        """``for i in range(start, stop, step)``. What is carried begins at ``first`` (constants are
        integers, or vectors where they are floats), and keeps its last values behind the loop."""
        kinds((start, stop, step, *first))
        outer, body = self.block, Block()
        self.count += 1
        after: list[Argument] = []
        index = Value(f"i{self.count}", INDEX, body)
        carried = tuple(
            Value(f"c{self.count}.{k}", self.type_of(value), outer) for k, value in enumerate(first)
        )
        outer.append(For(index, start, stop, step, carried, tuple(first), body, after))
        self.block = body
        yield Loop(index, carried, after)
        if kinds(after) != tuple(v.type for v in carried) and len(after) != len(carried):
            raise loops.LoopError(f"a loop of {self.name} carries on {after} as {carried}")
        self.block, body.open = outer, False

    @contextmanager
    def each(self, start: Argument, stop: Argument, step: Argument) -> Iterator[Value]:
        """The same where nothing is carried."""
        with self.loop(start, stop, step) as loop:
            yield loop.index

    @contextmanager
    def when(self, bit: Value) -> Iterator[None]:
        """What is built inside happens if the bit is set."""
        kinds((bit,))
        outer, body = self.block, Block()
        outer.append(If(bit, body))
        self.block = body
        yield
        self.block, body.open = outer, False

    def type_of(self, value: Argument) -> Type:
        """The type of a value; of a constant, as in `loop`."""
        if isinstance(value, Value):
            return value.type
        return self.target.vector if isinstance(value, float) else INDEX


class SlotBuilder(Builder):
    """A function that knows the slots of its context, its first parameter; ``rest`` has the
    others."""

    def __init__(
        self, target: Target, name: str, parameters: str, slots: Slots, **flags: bool
    ) -> None:
        rest = f", {parameters}" if parameters else ""
        super().__init__(target, name, f"ctx: pointer{rest}", **flags)
        self.slots = slots
        self.ctx, *self.rest = self.parameters

    def place(self, name: str) -> Value:
        """Where a slot is."""
        return self.at(self.ctx, 8 * self.slots.index[name])

    def slot(self, name: str) -> Value:
        """A slot's present value."""
        return self.let("load", self.place(name), type=INDEX, detail=8)

    def pointer(self, name: str) -> Value:
        """A slot's value as an address."""
        return self.let("load", self.place(name), type=POINTER, detail=8)

    def set(self, name: str, value: Argument) -> None:
        """Change a moving slot."""
        if name not in MOVING + MOVED and not name.startswith(("in.", "out.")):
            raise ValueError(f"slot {name} does not move")
        self.do("store", value, self.place(name), of=INDEX, detail=8)

    def advance(self, name: str, stride: str) -> None:
        """Move a slot on by another slot's value."""
        self.set(name, self.let("add", self.slot(name), self.slot(stride)))

    def tiled(
        self,
        first: Argument,
        end: Argument,
        columns: Range,
        shapes: Shapes,
        body: Tiles,
    ) -> None:
        """Cover rows and columns by tiles, the largest that fit first: ``body(rows, width, lines,
        columns)`` covers what both its ranges span."""
        for rows, widths in shapes:
            last = self.cover(first, end, rows)
            with self.when(self.let("less", first, last)):
                begin = columns[0]
                for width in widths:
                    stop = self.cover(begin, columns[1], width)
                    body(rows, width, (first, last), (begin, stop))
                    begin = stop
            first = last

    def span(self, axis: str) -> Range:
        """The tiles of an axis that go with the tiles j0 to j1 of the hidden axis: all with all,
        and neighbours' parts meet."""
        j0, j1 = self.named["j0"], self.named["j1"]
        if axis == "hidden":
            return j0, j1
        tiles, every = self.slot(tiles_slot(axis)), self.slot("tiles")
        first, last = (self.let("div", self.mul(j, tiles), every) for j in (j0, j1))
        return first, last

    def real_units(self, axis: str, j: Value) -> Value:
        """The mask of the lanes of the j-th vector of an axis that are units."""
        size = self.slot(size_slot(axis))
        return self.lanes_below(self.sub(size, self.mul(j, self.target.lanes)))

    def barrier(self, parties: Argument) -> None:
        """Wait for all parties."""
        self.do("barrier", self.pointer("barrier"), parties)


SPAN = "r0, r1, j0, j1"
"""A range of rows and of hidden tiles."""


@dataclass
class Module:
    """A plan on its way to a program: what each step writes out (``stores``) and adds up over time
    and batch (``sums``), and the functions built so far."""

    plan: Plan
    target: Target
    stores: tuple[str, ...]
    sums: tuple[str, ...]
    variant: Variant
    functions: list[Builder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots = CellSlots(self.plan, self.stores, self.variant)

    def function(self, name: str, parameters: str, **flags: bool) -> SlotBuilder:
        """A new function of the context and more parameters."""
        f = SlotBuilder(self.target, name, parameters, self.slots, **flags)
        self.functions.append(f)
        return f

    def plain(self, name: str, parameters: str, **flags: bool) -> Builder:
        """One that has no context."""
        f = Builder(self.target, name, parameters, **flags)
        self.functions.append(f)
        return f

    def program(self) -> loops.Program:
        """All of them."""
        return loops.Program(tuple(f.finished() for f in self.functions))
