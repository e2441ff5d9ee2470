"""Printing a program of the loop language as LLVM text: a table over its operations.

No optimisation pass runs afterwards, so loops carry their values in phi nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from grus.kernels import llvm_spelling
from grus.kernels.llvm_spelling import OPERATIONS, constant, declaration, spelled, suffix
from grus.kernels.loops import (
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
    Statement,
    Type,
    Value,
)
from grus.kernels.machine import Machine

ATTRIBUTES = """attributes #0 = { nounwind }
attributes #1 = { nounwind noinline optnone }"""
"""How well functions are compiled: what runs once in a call, quickly."""


class _Template(NamedTuple):
    """A form's line: its text, which names go into it (0 is the value's), the type of constants,
    and whether there are any; what it calls."""

    text: str
    pick: Callable[[list[str]], object]
    constants: Type
    plain: bool
    declaration: str


@lru_cache(maxsize=4096)
def _template(form: Form) -> _Template:
    """The line of an operation. Names come by ``%``, the fastest way there is: lines are many."""
    text = OPERATIONS[form.operation](form)
    first = "%{n}.0" if "%{n}.0" in text else "%{n}"
    values = {str(k): isinstance(kind, Type) for k, kind in enumerate(form.types)}
    order: list[int] = []

    def place(match: re.Match[str]) -> str:
        name = match[1]
        order.append(0 if name == "n" else 1 + int(name))
        return "%%%s" if values.get(name) else "%s"

    line = re.sub(r"\{(\w)\}", place, f"  {first} = {text}".replace("%", "%%"))
    constants = {"select": form.type, "at": INDEX}.get(form.operation, form.of)
    plain = all(values.values())
    return _Template(line, itemgetter(*order), constants, plain, declaration(text))


class _Printer:
    """One function being printed."""

    def __init__(
        self,
        machine: Machine,
        threads: bool,
        exported: Collection[str],
        declared: set[str],
        besides: dict[str, str],
    ) -> None:
        self.machine, self.threads, self.exported = machine, threads, exported
        self.declared, self.besides = declared, besides
        self.lines: list[str] = []
        self.label, self.blocks = "entry", 0

    def function(self, function: Function) -> str:
        """The text of a function."""
        kinds = [spelled(p.type) for p in function.parameters]
        kinds[0] += " noalias" if function.alone else ""
        parameters = zip(kinds, function.parameters, strict=True)
        listed = ", ".join(f"{kind} %{p.name}" for kind, p in parameters)
        link = "" if function.name in self.exported else "internal "
        head = f"define {link}void @{function.name}({listed}) #{int(function.once)} {{\nentry:"
        enter, leave = llvm_spelling.float_mode(self.machine) if function.nearest else ([], [])
        self.emit(*enter)
        self.print(function.body)
        self.emit(*leave)
        return "\n".join([head, *self.lines, "  ret void", "}"])

    def print(self, block: Block) -> None:
        """The lines of statements."""
        for statement in block:
            if isinstance(statement, Let):
                self.let(statement)
            else:
                self.other(statement)

    def let(self, s: Let) -> None:
        """A value."""
        line = _template(s.form)
        if line.declaration:
            self.declared.add(line.declaration)
        if line.plain:
            names = [s.value.name, *[a.name for a in s.arguments]]  # type: ignore[union-attr]
        else:
            names = [s.value.name]
            for a in s.arguments:
                names.append(a.name if isinstance(a, Value) else constant(a, line.constants))
        self.lines.append(line.text % line.pick(names))

    def other(self, s: Statement) -> None:
        """What is no value."""
        if isinstance(s, Do):
            EFFECTS[s.effect](self, s)
        elif isinstance(s, For):
            self.loop(s)
        elif isinstance(s, If):
            self.blocks += 1
            tag = f"when{self.blocks}"
            self.branch(s.bit, f"{tag}.then", f"{tag}.end")
            self.print(s.body)
            self.go(f"{tag}.end")
        else:
            raise LoopError(f"no statement: {s!r}")

    def text(self, a: Argument, of: Type = INDEX) -> str:
        """An argument without its type."""
        return f"%{a.name}" if isinstance(a, Value) else constant(a, of)

    def typed(self, a: Argument) -> str:
        """An argument of a call, with its type."""
        if isinstance(a, Value):
            return f"{spelled(a.type)} %{a.name}"
        return f"ptr @{a.name}" if isinstance(a, Reference) else f"i64 {a}"

    def emit(self, *lines: str) -> None:
        """Lines; what they call is declared."""
        for line in lines:
            self.lines.append(f"  {line}")
            if "@llvm." in line:
                self.declared.add(declaration(line))

    def begin(self, label: str) -> None:
        """A new block."""
        self.lines.append(f"{label}:")
        self.label = label

    def go(self, label: str) -> None:
        """End the block, begin the one it goes on to."""
        self.emit(f"br label %{label}")
        self.begin(label)

    def branch(self, bit: Value, then: str, end: str) -> None:
        """End the block, begin that for a set bit."""
        self.emit(f"br i1 %{bit.name}, label %{then}, label %{end}")
        self.begin(then)

    def loop(self, s: For) -> None:
        """The blocks of a loop."""
        self.blocks += 1
        tag, before, index = f"loop{self.blocks}", self.label, s.index.name
        self.go(f"{tag}.head")
        at = len(self.lines)
        self.emit(f"%{index}.more = icmp slt i64 %{index}, {self.text(s.stop)}")
        self.emit(f"br i1 %{index}.more, label %{tag}.body, label %{tag}.end")
        self.begin(f"{tag}.body")
        self.print(s.body)
        self.emit(f"%{index}.next = add i64 %{index}, {self.text(s.step)}")
        last = self.label
        self.emit(f"br label %{tag}.head")
        phi = f"[ {self.text(s.start)}, %{before} ], [ %{index}.next, %{last} ]"
        phis = [f"  %{index} = phi i64 {phi}"]
        for value, *ends in zip(s.carried, s.first, s.after, strict=True):
            first, after = (self.text(a, value.type) for a in ends)
            phi = f"[ {first}, %{before} ], [ {after}, %{last} ]"
            phis.append(f"  %{value.name} = phi {spelled(value.type)} {phi}")
        self.lines[at:at] = [phis[0], *reversed(phis[1:])]
        self.begin(f"{tag}.end")

    # Effects.

    def store(self, s: Do) -> None:
        """Store a number or a vector."""
        value, pointer, *mask = s.arguments
        kind, text, place = spelled(s.of), self.text(value, s.of), self.text(pointer)
        if not mask:
            self.emit(f"store {kind} {text}, ptr {place}, align {s.detail}")
            return
        bits = f"<{s.of.lanes} x i1>"
        arguments = f"{kind} {text}, ptr {place}, i32 {s.detail}, {bits} {self.text(mask[0])}"
        self.emit(f"call void @llvm.masked.store.{suffix(s.of)}.p0({arguments})")

    def copy(self, s: Do) -> None:
        """Copy bytes."""
        to, source, count = map(self.text, s.arguments)
        arguments = f"ptr {to}, ptr {source}, i64 {count}, i1 false"
        self.emit(f"call void @llvm.memcpy.p0.p0.i64({arguments})")

    def call(self, s: Do) -> None:
        """Call a function by its name, or one that is a value."""
        function, arguments = f"@{s.detail}", s.arguments
        if s.detail is None:
            function, arguments = self.text(arguments[0]), arguments[1:]
        self.emit(f"call void {function}({', '.join(map(self.typed, arguments))})")

    def parallel(self, s: Do) -> None:
        """A region of the OpenMP runtime, or a call by one thread. The runtime may give fewer
        threads than asked for."""
        context, count = (self.text(a) for a in s.arguments)
        alone = f"call void @{s.detail}(ptr {context}, i64 0, i64 1)"
        if not self.threads:
            self.emit(alone)
            return
        self.declared.add("declare void @GOMP_parallel(ptr, ptr, i32, i32)")
        self.declared |= {f"declare i32 @{name}()" for name in llvm_spelling.TEAM}
        self.besides["region"] = llvm_spelling.region(str(s.detail))
        self.emit(
            f"%several = icmp sgt i64 {count}, 1",
            f"%count = trunc i64 {count} to i32",
            "br i1 %several, label %share, label %alone",
        )
        self.begin("share")
        self.emit(f"call void @GOMP_parallel(ptr @region, ptr {context}, i32 %count, i32 0)")
        self.emit("br label %joined")
        self.begin("alone")
        self.emit(alone)
        self.go("joined")

    def barrier(self, s: Do) -> None:
        """Wait for all parties, where there are threads."""
        if self.threads:
            self.waits("barrier", llvm_spelling.barrier(self.machine))
            counters, parties = s.arguments
            self.emit(f"call void @barrier(ptr {self.text(counters)}, i64 {self.text(parties)})")

    def post(self, s: Do) -> None:
        """Set a number that another thread waits for."""
        self.emit(f"store atomic i64 1, ptr {self.text(s.arguments[0])} release, align 8")

    def wait(self, s: Do) -> None:
        """Wait until another thread has set a number that was 0."""
        self.waits("until", llvm_spelling.until(self.machine))
        self.emit(f"call void @until(ptr {self.text(s.arguments[0])})")

    def waits(self, name: str, text: str) -> None:
        """A function is called that waits."""
        self.besides[name] = text
        self.declared.add("declare i32 @sched_yield()")
        self.declared |= {"declare void @llvm.x86.sse2.pause()"} if self.machine.x86 else set()


EFFECTS: dict[str, Callable[[_Printer, Do], None]] = {
    "store": _Printer.store,
    "copy": _Printer.copy,
    "call": _Printer.call,
    "parallel": _Printer.parallel,
    "barrier": _Printer.barrier,
    "post": _Printer.post,
    "await": _Printer.wait,
}


def to_llvm(
    program: Program, machine: Machine, *, threads: bool, exported: Collection[str] = ("run",)
) -> str:
    """The program as LLVM text for a machine; without ``threads`` for one thread alone. Others may
    call the functions that are ``exported``."""
    declared: set[str] = set()
    besides: dict[str, str] = {}
    shared = machine, threads, exported, declared, besides
    texts = [_Printer(*shared).function(f) for f in program.functions]
    return "\n\n".join([*sorted(declared), *texts, *besides.values(), ATTRIBUTES]) + "\n"
