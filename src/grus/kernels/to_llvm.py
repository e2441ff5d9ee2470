"""Printing a program of the loop language as LLVM text: a table over its operations.

No optimisation pass runs afterwards, so loops carry their values in phi nodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

from grus.kernels import llvm_threads
from grus.kernels.loops import (
    BYTES,
    FLOATS,
    INDEX,
    Argument,
    Block,
    Do,
    For,
    Form,
    Function,
    Lanes,
    Let,
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
KINDS = {"index": "i64", "int32": "i32", "byte": "i8", "bit": "i1", "bfloat16": "bfloat"}
KINDS |= {"float32": "float", "float64": "double"} | dict.fromkeys(
    ("pointer", "local", "function"), "ptr"
)


@lru_cache(maxsize=256)
def spelled(type_: Type) -> str:
    """A type."""
    kind = KINDS[type_.kind]
    return f"<{type_.lanes} x {kind}>" if type_.lanes else kind


def suffix(type_: Type) -> str:
    """How intrinsics name a vector of floats."""
    return f"v{type_.lanes}f{8 * BYTES[type_.kind]}"


def constant(value: Argument, of: Type) -> str:
    """An argument that is no value."""
    if of is INDEX and isinstance(value, int):
        return str(value)
    if isinstance(value, Reference):
        return f"@{value.name}"
    if isinstance(value, Lanes):
        kind = KINDS[of.kind]
        return "<" + ", ".join(f"{kind} {k}" for k in range(of.lanes)) + ">"
    if of.kind in FLOATS:
        number = float(value)  # type: ignore[arg-type]
        if of.kind == "float32":
            number = struct.unpack("f", struct.pack("f", number))[0]
        text = "0x" + struct.pack(">d", number).hex().upper()
    else:
        text = str(value).lower()
    return f"splat ({KINDS[of.kind]} {text})" if of.lanes else text


# Operations: (the value's type, the arguments' type) -> text of "{n}", the name, and the arguments.

Spelling = Callable[[Form], str]
COMPARISONS = {
    "less": ("olt", "slt"),
    "at_most": ("ole", "sle"),
    "more": ("ogt", "sgt"),
    "at_least": ("oge", "sge"),
    "equal": ("oeq", "eq"),
    "differ": ("une", "ne"),
    "below": ("", "ult"),
}
WHOLE = {"div": "sdiv", "rem": "srem", "shr": "lshr"}


def _arithmetic(s: Form) -> str:
    name = f"f{s.operation}" if s.of.kind in FLOATS else WHOLE.get(s.operation, s.operation)
    return f"{name} {spelled(s.of)} {{0}}, {{1}}"


def _compare(s: Form) -> str:
    of_floats, of_integers = COMPARISONS[s.operation]
    name = f"fcmp {of_floats}" if s.of.kind in FLOATS else f"icmp {of_integers}"
    return f"{name} {spelled(s.of)} {{0}}, {{1}}"


def _intrinsic(name: str) -> Spelling:
    def spell(s: Form) -> str:
        kind = spelled(s.of)
        arguments = ", ".join(f"{kind} {{{k}}}" for k in range(len(s.types)))
        return f"call {kind} @llvm.{name}.{suffix(s.of)}({arguments})"

    return spell


def _splat(s: Form) -> str:
    vector, of = spelled(s.type), spelled(s.of)
    zeros = f"<{s.type.lanes} x i32> zeroinitializer"
    single = f"insertelement {vector} poison, {of} {{0}}, i64 0"
    return f"{single}\n  %{{n}} = shufflevector {vector} %{{n}}.0, {vector} poison, {zeros}"


def _shuffle(s: Form) -> str:
    assert isinstance(s.detail, tuple)
    order = ", ".join(f"i32 {k}" for k in s.detail)
    kind, second = spelled(s.of), "{1}" if len(s.types) == 2 else "poison"
    return f"shufflevector {kind} {{0}}, {kind} {second}, <{len(s.detail)} x i32> <{order}>"


def _convert(s: Form) -> str:
    name = {("index", "int32"): "trunc", ("int32", "index"): "sext", ("bit", "index"): "zext"}
    name |= {("index", kind): "sitofp" for kind in FLOATS}
    return f"{name[s.of.kind, s.type.kind]} {spelled(s.of)} {{0}} to {spelled(s.type)}"


def _load(s: Form) -> str:
    kind = spelled(s.type)
    if len(s.types) == 1:
        return f"load {kind}, ptr {{0}}, align {s.detail}"
    mask = f"<{s.type.lanes} x i1>"
    name = f"@llvm.masked.load.{suffix(s.type)}.p0"
    return f"call {kind} {name}(ptr {{0}}, i32 {s.detail}, {mask} {{1}}, {kind} zeroinitializer)"


def _round_pairs(s: Form) -> str:
    one, two = spelled(s.of), spelled(s.type)
    name = "@llvm.x86.avx512bf16.cvtne2ps2bf16.512"
    return f"call {two} {name}({one} {{0}}, {one} {{1}})"


def _dot_pairs(s: Form) -> str:
    one, two = spelled(s.of), f"<{2 * s.of.lanes} x bfloat>"
    name = "@llvm.x86.avx512bf16.dpbf16ps.512"
    return f"call {one} {name}({one} {{0}}, {two} {{1}}, {two} {{2}})"


OPERATIONS: dict[str, Spelling] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "rem", "and", "or", "xor"), _arithmetic),
    **dict.fromkeys(("shl", "shr"), _arithmetic),
    **dict.fromkeys(COMPARISONS, _compare),
    "fma": _intrinsic("fma"),
    "sqrt": _intrinsic("sqrt"),
    "abs": _intrinsic("fabs"),
    "copysign": _intrinsic("copysign"),
    "neg": lambda s: f"fneg {spelled(s.of)} {{0}}",
    "nan": lambda s: f"fcmp uno {spelled(s.of)} {{0}}, {{0}}",
    "select": lambda s: "select {3} {0}, {4} {1}, {4} {2}".replace("{3}", spelled(s.of)).replace(
        "{4}", spelled(s.type)
    ),
    "splat": _splat,
    "first": lambda s: f"extractelement {spelled(s.of)} {{0}}, i64 0",
    "shuffle": _shuffle,
    "bits": lambda s: f"bitcast {spelled(s.of)} {{0}} to {spelled(s.type)}",
    "convert": _convert,
    "address": lambda _: "inttoptr i64 {0} to ptr",
    "at": lambda _: "getelementptr i8, ptr {0}, i64 {1}",
    "local": lambda _: "alloca [{0} x i8], align {1}",
    "load": _load,
    "take": lambda _: "atomicrmw add ptr {0}, i64 1 monotonic",
    "round_pairs": _round_pairs,
    "dot_pairs": _dot_pairs,
}
"""How each operation is spelled."""


def _declaration(text: str) -> str:
    """What an intrinsic that a line calls is declared as."""
    if "@llvm." not in text:
        return ""
    head, _, arguments = text.removeprefix("call ").partition("(")
    kinds = [_kind(a) for a in arguments.rstrip(")").split(", ")]
    return f"declare {head}({', '.join(kinds)})"


def _kind(argument: str) -> str:
    """The type in front of an argument."""
    end = argument.index(">") + 1 if argument[0] == "<" else argument.index(" ")
    return argument[:end]


@lru_cache(maxsize=4096)
def _template(form: Form) -> tuple[str, Type, str]:
    """(text, type of its constants, declaration) of an operation."""
    text = OPERATIONS[form.operation](form)
    constants = {"select": form.type, "at": INDEX}.get(form.operation, form.of)
    first = "%{n}.0" if form.operation == "splat" else "%{n}"
    return f"  {first} = {text}", constants, _declaration(text)


class _Printer:
    """One function being printed."""

    def __init__(
        self, machine: Machine, threads: bool, declared: set[str], besides: dict[str, str]
    ) -> None:
        self.machine, self.threads = machine, threads
        self.declared, self.besides = declared, besides
        self.lines: list[str] = []
        self.label, self.blocks = "entry", 0

    def function(self, function: Function) -> str:
        """The text of a function."""
        alone = " noalias" if function.alone else ""
        kinds = [spelled(p.type) for p in function.parameters]
        kinds[0] += alone
        parameters = zip(kinds, function.parameters, strict=True)
        given = ", ".join(f"{kind} %{p.name}" for kind, p in parameters)
        link = "" if function.name == "run" else "internal "
        head = f"define {link}void @{function.name}({given}) #{int(function.once)} {{\nentry:"
        enter, leave = llvm_threads.float_mode(self.machine) if function.nearest else ([], [])
        self.declared |= llvm_threads.mode_declarations(self.machine) if enter else set()
        self.lines += enter
        self.print(function.body)
        self.lines += leave
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
        text, of, declaration = _template(s.form)
        if declaration:
            self.declared.add(declaration)
        arguments = ["%" + a.name if isinstance(a, Value) else constant(a, of) for a in s.arguments]
        self.lines.append(text.format(*arguments, n=s.value.name))

    def other(self, s: Statement) -> None:
        """What is no value."""
        if isinstance(s, Do):
            EFFECTS[s.effect](self, s)
        elif isinstance(s, For):
            self.loop(s)
        else:
            assert not isinstance(s, Let)
            self.blocks += 1
            tag = f"when{self.blocks}"
            self.branch(s.bit, f"{tag}.then", f"{tag}.end")
            self.print(s.body)
            self.go(f"{tag}.end")

    def text(self, a: Argument, of: Type = INDEX) -> str:
        """An argument without its type."""
        return f"%{a.name}" if isinstance(a, Value) else constant(a, of)

    def typed(self, a: Argument) -> str:
        """An argument of a call, with its type."""
        if isinstance(a, Value):
            return f"{spelled(a.type)} %{a.name}"
        return f"ptr @{a.name}" if isinstance(a, Reference) else f"i64 {a}"

    def emit(self, line: str) -> None:
        """A line."""
        self.lines.append(f"  {line}")

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
        name = f"@llvm.masked.store.{suffix(s.of)}.p0"
        self.declared.add(f"declare void {name}({kind}, ptr, i32, {bits})")
        given = f"{kind} {text}, ptr {place}, i32 {s.detail}, {bits} {self.text(mask[0])}"
        self.emit(f"call void {name}({given})")

    def copy(self, s: Do) -> None:
        """Copy bytes."""
        to, source, count = s.arguments
        name = "@llvm.memcpy.p0.p0.i64"
        self.declared.add(f"declare void {name}(ptr, ptr, i64, i1)")
        given = f"ptr {self.text(to)}, ptr {self.text(source)}, i64 {self.text(count)}, i1 false"
        self.emit(f"call void {name}({given})")

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
        self.declared |= {f"declare i32 @{name}()" for name in llvm_threads.TEAM}
        self.besides["region"] = llvm_threads.region(str(s.detail))
        self.emit(f"%several = icmp sgt i64 {count}, 1")
        self.emit(f"%count = trunc i64 {count} to i32")
        self.emit("br i1 %several, label %share, label %alone")
        self.begin("share")
        self.emit(f"call void @GOMP_parallel(ptr @region, ptr {context}, i32 %count, i32 0)")
        self.emit("br label %joined")
        self.begin("alone")
        self.emit(alone)
        self.go("joined")

    def barrier(self, s: Do) -> None:
        """Wait for all parties, where there are threads."""
        if self.threads:
            self.waits("barrier", llvm_threads.barrier(self.machine))
            counters, parties = s.arguments
            self.emit(f"call void @barrier(ptr {self.text(counters)}, i64 {self.text(parties)})")

    def post(self, s: Do) -> None:
        """Set a number that another thread waits for."""
        self.emit(f"store atomic i64 1, ptr {self.text(s.arguments[0])} release, align 8")

    def wait(self, s: Do) -> None:
        """Wait until another thread has set a number that was 0."""
        self.waits("until", llvm_threads.until(self.machine))
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


def to_llvm(program: Program, machine: Machine, *, threads: bool) -> str:
    """The program as LLVM text for a machine; without ``threads`` for one thread alone."""
    declared: set[str] = set()
    besides: dict[str, str] = {}
    texts = [_Printer(machine, threads, declared, besides).function(f) for f in program.functions]
    return "\n\n".join([*sorted(declared), *texts, *besides.values(), ATTRIBUTES]) + "\n"
