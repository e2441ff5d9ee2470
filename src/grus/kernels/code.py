"""A function that knows the slots of its context: %ctx is the first parameter."""

from __future__ import annotations

from collections.abc import Callable

from grus.kernels.ir import Function, Target
from grus.kernels.slots import MOVED, MOVING, Slots

Widths = tuple[int, ...]
Shapes = tuple[tuple[int, Widths], ...]
Tiles = Callable[[int, int, str, str], None]


class Code(Function):
    """A function that knows the slots of its context."""

    def __init__(
        self,
        target: Target,
        name: str,
        parameters: list[str],
        slots: Slots,
        private: bool = True,
    ) -> None:
        super().__init__(target, name, parameters, private)
        self.slots = slots

    def address(self, name: str) -> str:
        """Where a slot is."""
        return self.at("%ctx", 8 * self.slots.index[name])

    def read(self, name: str) -> str:
        """A slot's present value."""
        return self.let(f"load i64, ptr {self.address(name)}, align 8")

    slot = read

    def pointer(self, name: str) -> str:
        """A slot's value as an address."""
        return self.let(f"inttoptr i64 {self.read(name)} to ptr")

    def set(self, name: str, value: str) -> None:
        """Change a moving slot."""
        if name not in MOVING + MOVED and not name.startswith(("in.", "out.")):
            raise ValueError(f"slot {name} does not move")
        self.emit(f"store i64 {value}, ptr {self.address(name)}, align 8")

    def advance(self, name: str, stride: str) -> None:
        """Move a slot on by another slot's value."""
        self.set(name, self.let(f"add i64 {self.read(name)}, {self.read(stride)}"))

    def cover(self, first: str, end: str, rows: int) -> str:
        """The end of the rows that whole tiles of ``rows`` cover."""
        if rows == 1:
            return end
        whole = self.let(f"sdiv i64 {self.sub(end, first)}, {rows}")
        return self.add(first, self.mul(whole, rows))

    def tiled(
        self, first: str, end: str, columns: tuple[str, str], shapes: Shapes, body: Tiles
    ) -> None:
        """Cover rows and columns by tiles, the largest that fit first: ``body(rows, width, lines,
        columns)`` covers what both its ranges span, each the text of two arguments."""
        for rows, widths in shapes:
            last = self.cover(first, end, rows)
            lines = f"i64 {first}, i64 {last}"

            def part(lines: str = lines, rows: int = rows, widths: Widths = widths) -> None:
                begin = columns[0]
                for width in widths:
                    stop = self.cover(begin, columns[1], width)
                    body(rows, width, lines, f"i64 {begin}, i64 {stop}")
                    begin = stop

            self.when(self.let(f"icmp slt i64 {first}, {last}"), part)
            first = last

    def barrier(self, parties: str) -> None:
        """Wait for all parties."""
        self.emit(f"call void @barrier(ptr {self.pointer('barrier')}, i64 {parties})")

    def enter_float_mode(self) -> str:
        """Round to nearest, denormals kept, in this thread; gives what was there before."""
        if not self.target.machine.x86:
            saved = self.call("i64", "llvm.aarch64.get.fpcr")
            self.call("void", "llvm.aarch64.set.fpcr", "i64 0")
            return saved
        self.emit("%mode.old = alloca i32, align 4")
        self.emit("%mode.new = alloca i32, align 4")
        self.call("void", "llvm.x86.sse.stmxcsr", "ptr %mode.old")
        self.emit("store i32 8064, ptr %mode.new, align 4")
        self.call("void", "llvm.x86.sse.ldmxcsr", "ptr %mode.new")
        return "%mode.old"

    def leave_float_mode(self, saved: str) -> None:
        """Put back what `enter_float_mode` found."""
        if self.target.machine.x86:
            self.call("void", "llvm.x86.sse.ldmxcsr", f"ptr {saved}")
        else:
            self.call("void", "llvm.aarch64.set.fpcr", f"i64 {saved}")
