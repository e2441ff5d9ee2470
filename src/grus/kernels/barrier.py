"""Waiting between the threads of one region: spin for a bounded time, then yield.

A barrier has two counters, each on a cache line of its own: how many have arrived, and the
generation.
"""

from __future__ import annotations

from grus.kernels.ir import Function, Target

SPINS = 4096
LINE = 64


def barrier_function(target: Target, *, threads: bool) -> str:
    """``barrier(counters, parties)``: returns when all parties have called it; without
    ``threads`` there is only one."""
    f = Function(target, "barrier", ["ptr %counters", "i64 %parties"])
    if not threads:
        return f.text()
    f.emit("%alone = icmp slt i64 %parties, 2")
    f.emit("br i1 %alone, label %out, label %arrive")
    f.label("arrive")
    f.emit(f"%generation = getelementptr i8, ptr %counters, i64 {LINE}")
    f.emit("%now = load atomic i64, ptr %generation acquire, align 8")
    f.emit("%before = atomicrmw add ptr %counters, i64 1 acq_rel")
    f.emit("%last = add i64 %before, 1")
    f.emit("%complete = icmp eq i64 %last, %parties")
    f.emit("br i1 %complete, label %release, label %wait")
    f.label("release")
    f.emit("store atomic i64 0, ptr %counters monotonic, align 8")
    f.emit("%next = add i64 %now, 1")
    f.emit("store atomic i64 %next, ptr %generation release, align 8")
    f.emit("br label %out")
    _wait(f, "%generation", "%now", "arrive")
    f.label("out")
    return f.text()


def until(target: Target) -> Function:
    """``until(flag)``: returns when another thread has set a number that was 0."""
    f = Function(target, "until", ["ptr %flag"])
    f.emit("br label %wait")
    _wait(f, "%flag", "0", "entry")
    f.label("out")
    return f


def _wait(f: Function, place: str, now: str, before: str) -> None:
    """Go to ``out`` when the number at a place is no longer what it is now."""
    f.label("wait")
    f.emit(f"%spin = phi i64 [ 0, %{before} ], [ %spun, %again ]")
    f.emit(f"%seen = load atomic i64, ptr {place} acquire, align 8")
    f.emit(f"%passed = icmp ne i64 %seen, {now}")
    f.emit("br i1 %passed, label %out, label %pause")
    f.label("pause")
    f.emit("%spun = add i64 %spin, 1")
    f.emit(f"%long = icmp sgt i64 %spun, {SPINS}")
    f.emit("br i1 %long, label %yield, label %relax")
    f.label("yield")
    f.emit("%ignored = call i32 @sched_yield()")
    f.emit("br label %again")
    f.label("relax")
    if f.target.machine.x86:
        f.emit("call void @llvm.x86.sse2.pause()")
    f.emit("br label %again")
    f.label("again")
    f.emit("br label %wait")


def declarations(target: Target, *, threads: bool) -> list[str]:
    """What waiting calls."""
    if not threads:
        return []
    pause = ["declare void @llvm.x86.sse2.pause()"] if target.machine.x86 else []
    return ["declare i32 @sched_yield()", *pause]
