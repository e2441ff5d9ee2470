"""Printing LLVM text: one function at a time, values named by a counter.

Only what the kernels need: integers are i64, pointers are opaque, vectors have the width of the
machine. Loops carry their values in phi nodes, because no optimisation pass runs afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grus.kernels.machine import DType, Machine, item_bytes
from grus.kernels.steps import Narrow


@dataclass(frozen=True)
class Target:
    """What code is printed for: an instruction set and a number type."""

    machine: Machine
    dtype: DType
    narrow: Narrow = ""
    """What is bfloat16 in products, of float32."""

    @property
    def lanes(self) -> int:
        """Numbers per vector."""
        return self.machine.lanes(self.dtype)

    @property
    def item(self) -> int:
        """Bytes per number."""
        return item_bytes(self.dtype)

    @property
    def number(self) -> str:
        """The LLVM name of the number type."""
        return "float" if self.dtype == "float32" else "double"

    @property
    def integer(self) -> str:
        """The integer type as wide as a number."""
        return f"i{8 * self.item}"

    @property
    def vector(self) -> str:
        """The vector type."""
        return f"<{self.lanes} x {self.number}>"

    @property
    def integers(self) -> str:
        """The vector of integers."""
        return f"<{self.lanes} x {self.integer}>"

    @property
    def suffix(self) -> str:
        """How intrinsics name the vector type."""
        return f"v{self.lanes}f{8 * self.item}"

    @property
    def mask(self) -> str:
        """One bit per lane."""
        return f"<{self.lanes} x i1>"

    def literal(self, value: float) -> str:
        """A number as LLVM spells it exactly."""
        if self.dtype == "float32":
            value = struct.unpack("f", struct.pack("f", value))[0]
        return "0x" + struct.pack(">d", value).hex().upper()

    def splat(self, value: float) -> str:
        """A constant vector."""
        return f"splat ({self.number} {self.literal(value)})"

    def splat_int(self, value: int) -> str:
        """A constant vector of integers."""
        return f"splat ({self.integer} {value})"


USUAL, QUICK = "#0", "#1"
ATTRIBUTES = f"""attributes {USUAL} = {{ nounwind }}
attributes {QUICK} = {{ nounwind noinline optnone }}"""
"""What functions may be expected to do, and how well they are compiled."""

Body = Callable[[str, list[str]], Sequence[str]]


class Function:
    """One function being printed."""

    def __init__(self, target: Target, name: str, parameters: Sequence[str], private: bool = True):
        self.target, self.name = target, name
        self.parameters = list(parameters)
        self.private = private
        self.quick = False
        """To be compiled quickly rather than well: for what runs once in a call."""
        self.lines: list[str] = []
        self.count = 0
        self.block = "entry"
        self.externals: set[str] = set()

    def text(self) -> str:
        """The finished function."""
        link = "internal " if self.private else ""
        group = QUICK if self.quick else USUAL
        head = f"define {link}void @{self.name}({', '.join(self.parameters)}) {group} {{\nentry:"
        return "\n".join([head, *self.lines, "  ret void", "}"])

    def fresh(self) -> str:
        """A name not used before in this function."""
        self.count += 1
        return f"%v{self.count}"

    def emit(self, line: str) -> None:
        """A line without a result."""
        self.lines.append(f"  {line}")

    def let(self, line: str) -> str:
        """A line with a result; gives its name."""
        name = self.fresh()
        self.lines.append(f"  {name} = {line}")
        return name

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")
        self.block = name

    def call(self, result: str, name: str, *args: str) -> str:
        """Call a function declared outside this text; remembers to declare it."""
        types = ", ".join(a[: a.index(">") + 1] if a[0] == "<" else a.split()[0] for a in args)
        self.externals.add(f"declare {result} @{name}({types})")
        line = f"call {result} @{name}({', '.join(args)})"
        if result == "void":
            self.emit(line)
            return ""
        return self.let(line)

    # Integers and addresses.

    def add(self, a: str | int, b: str | int) -> str:
        """a + b, nothing printed where one is 0."""
        if isinstance(a, int) and isinstance(b, int):
            return str(a + b)
        if "0" in (str(a), str(b)):
            return str(b) if str(a) == "0" else str(a)
        return self.let(f"add i64 {a}, {b}")

    def sub(self, a: str | int, b: str | int) -> str:
        """a - b."""
        return self.let(f"sub i64 {a}, {b}")

    def mul(self, a: str | int, b: str | int) -> str:
        """a * b, nothing printed where one is 0 or 1."""
        if isinstance(a, int) and isinstance(b, int):
            return str(a * b)
        if "0" in (str(a), str(b)):
            return "0"
        if "1" in (str(a), str(b)):
            return str(b) if str(a) == "1" else str(a)
        return self.let(f"mul i64 {a}, {b}")

    def smaller(self, a: str | int, b: str | int) -> str:
        """The smaller of two."""
        less = self.let(f"icmp slt i64 {a}, {b}")
        return self.let(f"select i1 {less}, i64 {a}, i64 {b}")

    def at(self, pointer: str, offset: str | int) -> str:
        """The address ``offset`` bytes past a pointer."""
        if str(offset) == "0":
            return pointer
        return self.let(f"getelementptr i8, ptr {pointer}, i64 {offset}")

    # Vectors of the target.

    def load(self, pointer: str, align: int | None = None) -> str:
        """A vector, aligned to its own width unless said otherwise."""
        t = self.target
        return self.let(f"load {t.vector}, ptr {pointer}, align {align or t.machine.vector_bytes}")

    def store(self, value: str, pointer: str, align: int | None = None) -> None:
        """Store a vector, aligned as in `load`."""
        t = self.target
        align = align or t.machine.vector_bytes
        self.emit(f"store {t.vector} {value}, ptr {pointer}, align {align}")

    def load_masked(self, pointer: str, mask: str, lanes: int = 0) -> str:
        """The lanes of the mask, 0 elsewhere; nothing outside it is touched. A vector of the
        machine's width, or of so many lanes."""
        t, n = self.target, lanes or self.target.lanes
        vector = f"<{n} x {t.number}>"
        return self.call(
            vector,
            f"llvm.masked.load.v{n}f{8 * t.item}.p0",
            f"ptr {pointer}",
            "i32 1",
            f"<{n} x i1> {mask}",
            f"{vector} zeroinitializer",
        )

    def store_masked(self, value: str, pointer: str, mask: str) -> None:
        """Store the lanes of the mask only."""
        t = self.target
        self.call(
            "void",
            f"llvm.masked.store.{t.suffix}.p0",
            f"{t.vector} {value}",
            f"ptr {pointer}",
            "i32 1",
            f"{t.mask} {mask}",
        )

    def broadcast(self, pointer: str) -> str:
        """The number at an address in every lane; the address need not be aligned."""
        t = self.target
        number = self.let(f"load {t.number}, ptr {pointer}, align 1")
        one = self.let(f"insertelement {t.vector} poison, {t.number} {number}, i64 0")
        zeros = f"<{t.lanes} x i32> zeroinitializer"
        return self.let(f"shufflevector {t.vector} {one}, {t.vector} poison, {zeros}")

    def multiply_add(self, a: str, b: str, c: str) -> str:
        """a * b + c, fused where the machine can (a library call would be ruinous)."""
        t = self.target
        if t.machine.fma:
            args = [f"{t.vector} {v}" for v in (a, b, c)]
            return self.call(t.vector, f"llvm.fma.{t.suffix}", *args)
        product = self.let(f"fmul {t.vector} {a}, {b}")
        return self.let(f"fadd {t.vector} {product}, {c}")

    def lanes_below(self, count: str, lanes: int = 0) -> str:
        """The mask of the first ``count`` lanes (none for 0 and less, all from the width up), of
        the machine's width or of so many lanes."""
        t, n = self.target, lanes or self.target.lanes
        few = self.smaller(count, n)
        few = few if t.item == 8 else self.let(f"trunc i64 {few} to {t.integer}")
        kind, zeros = f"<{n} x {t.integer}>", f"<{n} x i32> zeroinitializer"
        one = self.let(f"insertelement {kind} poison, {t.integer} {few}, i64 0")
        limit = self.let(f"shufflevector {kind} {one}, {kind} poison, {zeros}")
        index = "<" + ", ".join(f"{t.integer} {k}" for k in range(n)) + ">"
        return self.let(f"icmp slt {kind} {index}, {limit}")

    # Control.

    def loop(
        self,
        start: str | int,
        stop: str | int,
        step: str | int,
        body: Body,
        carried: Sequence[tuple[str, str]] = (),
    ) -> list[str]:
        """``for i in range(start, stop, step)``; ``body(i, values)`` gives the next values."""
        self.count += 1
        tag, before = f"loop{self.count}", self.block
        self.emit(f"br label %{tag}.head")
        self.label(f"{tag}.head")
        index = f"%{tag}.i"
        names = [f"%{tag}.c{k}" for k in range(len(carried))]
        at = len(self.lines)
        more = self.let(f"icmp slt i64 {index}, {stop}")
        self.emit(f"br i1 {more}, label %{tag}.body, label %{tag}.end")
        self.label(f"{tag}.body")
        after = list(body(index, names))
        advanced = self.let(f"add i64 {index}, {step}")
        last = self.block
        self.emit(f"br label %{tag}.head")
        self.lines.insert(
            at, f"  {index} = phi i64 [ {start}, %{before} ], [ {advanced}, %{last} ]"
        )
        for (kind, first), name, value in zip(carried, names, after, strict=True):
            phi = f"  {name} = phi {kind} [ {first}, %{before} ], [ {value}, %{last} ]"
            self.lines.insert(at + 1, phi)
        self.label(f"{tag}.end")
        return names

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """Run ``body`` if the bit is set."""
        self.count += 1
        tag = f"when{self.count}"
        self.emit(f"br i1 {condition}, label %{tag}.then, label %{tag}.end")
        self.label(f"{tag}.then")
        body()
        self.emit(f"br label %{tag}.end")
        self.label(f"{tag}.end")
