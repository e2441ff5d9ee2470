"""How LLVM spells types, constants and operations of the loop language, and what threads need: a
region of the OpenMP runtime, waiting, the rounding mode.

A barrier has two counters, each on a cache line of its own: how many have arrived, and the
generation. Who waits spins for a bounded time, then yields.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import lru_cache

from grus.kernels.loops import BYTES, FLOATS, INDEX, Argument, Form, Lanes, Reference, Type
from grus.kernels.machine import Machine

KINDS = {
    "index": "i64",
    "int32": "i32",
    "byte": "i8",
    "int8": "i8",
    "bit": "i1",
    "bfloat16": "bfloat",
}
KINDS |= {"float32": "float", "float64": "double"} | dict.fromkeys(
    ("pointer", "local", "function"), "ptr"
)


@lru_cache(maxsize=256)
def spelled(type_: Type) -> str:
    """A type."""
    kind = KINDS[type_.kind]
    return f"<{type_.lanes} x {kind}>" if type_.lanes else kind


def suffix(type_: Type) -> str:
    """How intrinsics name a float, or a vector of them."""
    return f"{f'v{type_.lanes}' if type_.lanes else ''}f{8 * BYTES[type_.kind]}"


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


DOTS = "@llvm.x86.avx512bf16"

# Operations: a form -> text of "{n}", the name, and "{0}", "{1}", ..., the arguments.

Spelling = Callable[[Form], str]
BINARY = {
    "add": ("fadd", "add"),
    "sub": ("fsub", "sub"),
    "mul": ("fmul", "mul"),
    "div": ("fdiv", "sdiv"),
    "rem": ("", "srem"),
    "shr": ("", "lshr"),
    **{name: ("", name) for name in ("shl", "and", "or", "xor")},
    "less": ("fcmp olt", "icmp slt"),
    "at_most": ("fcmp ole", "icmp sle"),
    "more": ("fcmp ogt", "icmp sgt"),
    "at_least": ("fcmp oge", "icmp sge"),
    "equal": ("", "icmp eq"),
    "differ": ("", "icmp ne"),
    "below": ("", "icmp ult"),
}
"""What stands before two floats, and before two integers."""


def _binary(s: Form) -> str:
    return f"{BINARY[s.operation][s.of.kind not in FLOATS]} {spelled(s.of)} {{0}}, {{1}}"


def _intrinsic(name: str) -> Spelling:
    def spell(s: Form) -> str:
        kind = spelled(s.of)
        arguments = ", ".join(f"{kind} {{{k}}}" for k in range(len(s.types)))
        return f"call {kind} @llvm.{name}.{suffix(s.of)}({arguments})"

    return spell


def _select(s: Form) -> str:
    kind = spelled(s.type)
    return f"select {spelled(s.of)} {{0}}, {kind} {{1}}, {kind} {{2}}"


def _splat(s: Form) -> str:
    if not s.type.lanes:
        return f"select i1 true, {spelled(s.type)} {{0}}, {spelled(s.type)} {{0}}"
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
    name |= {("int32", "byte"): "trunc", ("int32", "float32"): "sitofp"}
    return f"{name[s.of.kind, s.type.kind]} {spelled(s.of)} {{0}} to {spelled(s.type)}"


def _load(s: Form) -> str:
    kind = spelled(s.type)
    if len(s.types) == 1:
        return f"load {kind}, ptr {{0}}, align {s.detail}"
    mask = f"<{s.type.lanes} x i1>"
    name = f"@llvm.masked.load.{suffix(s.type)}.p0"
    return f"call {kind} {name}(ptr {{0}}, i32 {s.detail}, {mask} {{1}}, {kind} zeroinitializer)"


def _round_pairs(s: Form) -> str:
    single, pairs = spelled(s.of), spelled(s.type)
    return f"call {pairs} {DOTS}.cvtne2ps2bf16.512({single} {{0}}, {single} {{1}})"


def _dot_pairs(s: Form) -> str:
    single, pairs = spelled(s.of), f"<{2 * s.of.lanes} x bfloat>"
    return f"call {single} {DOTS}.dpbf16ps.512({single} {{0}}, {pairs} {{1}}, {pairs} {{2}})"


def _byte_product(_: Form) -> str:
    second = "%{n}.1 = zext i8 {1} to i32"
    return f"sext i8 {{0}} to i32\n  {second}\n  %{{n}} = mul i32 %{{n}}.0, %{{n}}.1"


OPERATIONS: dict[str, Spelling] = {
    **dict.fromkeys(BINARY, _binary),
    "fma": _intrinsic("fma"),
    "sqrt": _intrinsic("sqrt"),
    "abs": _intrinsic("fabs"),
    "copysign": _intrinsic("copysign"),
    "neg": lambda s: f"fneg {spelled(s.of)} {{0}}",
    "nan": lambda s: f"fcmp uno {spelled(s.of)} {{0}}, {{0}}",
    "select": _select,
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
    "byte_product": _byte_product,
}
"""How each operation is spelled."""


def declaration(line: str) -> str:
    """What an intrinsic that a line calls is declared as; nothing where it calls none."""
    if "@llvm." not in line:
        return ""
    head, _, arguments = line.partition("call ")[2].partition("(")
    kinds = re.findall(r"(<[^>]*>|\w+) [^,]+", arguments)
    return f"declare {head}({', '.join(kinds)})"


TEAM = ("omp_get_thread_num", "omp_get_num_threads")
SPINS = 4096
"""Pauses before a waiting thread yields: far more than a meeting takes whose threads all run, far
fewer than a time slice, for one that the system has set aside."""
LINE = 64


def region(name: str) -> str:
    """One thread's part of a parallel region: its number, and the team's size."""
    return f"""define internal void @region(ptr %ctx) #0 {{
entry:
  %thread = call i32 @{TEAM[0]}()
  %threads = call i32 @{TEAM[1]}()
  %tid = sext i32 %thread to i64
  %team = sext i32 %threads to i64
  call void @{name}(ptr %ctx, i64 %tid, i64 %team)
  ret void
}}"""


def barrier(machine: Machine) -> str:
    """``barrier(counters, parties)``: returns when all parties have called it."""
    return f"""define internal void @barrier(ptr %counters, i64 %parties) #0 {{
entry:
  %alone = icmp slt i64 %parties, 2
  br i1 %alone, label %out, label %arrive
arrive:
  %generation = getelementptr i8, ptr %counters, i64 {LINE}
  %now = load atomic i64, ptr %generation acquire, align 8
  %before = atomicrmw add ptr %counters, i64 1 acq_rel
  %last = add i64 %before, 1
  %complete = icmp eq i64 %last, %parties
  br i1 %complete, label %release, label %wait
release:
  store atomic i64 0, ptr %counters monotonic, align 8
  %next = add i64 %now, 1
  store atomic i64 %next, ptr %generation release, align 8
  br label %out
{_wait(machine, "%generation", "%now", "arrive")}
out:
  ret void
}}"""


def until(machine: Machine) -> str:
    """``until(flag)``: returns when another thread has set a number that was 0."""
    return f"""define internal void @until(ptr %flag) #0 {{
entry:
  br label %wait
{_wait(machine, "%flag", "0", "entry")}
out:
  ret void
}}"""


def _wait(machine: Machine, place: str, now: str, before: str) -> str:
    """Go to ``out`` when the number at a place is no longer what it is now."""
    pause = "\n  call void @llvm.x86.sse2.pause()" if machine.x86 else ""
    return f"""wait:
  %spin = phi i64 [ 0, %{before} ], [ %spun, %again ]
  %seen = load atomic i64, ptr {place} acquire, align 8
  %passed = icmp ne i64 %seen, {now}
  br i1 %passed, label %out, label %pause
pause:
  %spun = add i64 %spin, 1
  %long = icmp sgt i64 %spun, {SPINS}
  br i1 %long, label %yield, label %relax
yield:
  %ignored = call i32 @sched_yield()
  br label %again
relax:{pause}
  br label %again
again:
  br label %wait"""


def float_mode(machine: Machine) -> tuple[list[str], list[str]]:
    """The lines that have this thread round to nearest and keep denormals, and those that put back
    what was so before."""
    if not machine.x86:
        enter = ["%mode.old = call i64 @llvm.aarch64.get.fpcr()"]
        enter += ["call void @llvm.aarch64.set.fpcr(i64 0)"]
        return enter, ["call void @llvm.aarch64.set.fpcr(i64 %mode.old)"]
    enter = ["%mode.old = alloca i32, align 4", "%mode.new = alloca i32, align 4"]
    enter += ["call void @llvm.x86.sse.stmxcsr(ptr %mode.old)"]
    enter += ["store i32 8064, ptr %mode.new, align 4"]
    enter += ["call void @llvm.x86.sse.ldmxcsr(ptr %mode.new)"]
    return enter, ["call void @llvm.x86.sse.ldmxcsr(ptr %mode.old)"]
