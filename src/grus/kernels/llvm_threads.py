"""What threads need in LLVM text: a region of the OpenMP runtime, waiting, the rounding mode.

A barrier has two counters, each on a cache line of its own: how many have arrived, and the
generation. Who waits spins for a bounded time, then yields.
"""

from __future__ import annotations

from grus.kernels.machine import Machine

TEAM = ("omp_get_thread_num", "omp_get_num_threads")
SPINS = 4096
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
        leave = ["call void @llvm.aarch64.set.fpcr(i64 %mode.old)"]
    else:
        enter = ["%mode.old = alloca i32, align 4", "%mode.new = alloca i32, align 4"]
        enter += ["call void @llvm.x86.sse.stmxcsr(ptr %mode.old)"]
        enter += ["store i32 8064, ptr %mode.new, align 4"]
        enter += ["call void @llvm.x86.sse.ldmxcsr(ptr %mode.new)"]
        leave = ["call void @llvm.x86.sse.ldmxcsr(ptr %mode.old)"]
    return [f"  {line}" for line in enter], [f"  {line}" for line in leave]


def mode_declarations(machine: Machine) -> set[str]:
    """What `float_mode` calls."""
    if not machine.x86:
        return {
            "declare i64 @llvm.aarch64.get.fpcr()",
            "declare void @llvm.aarch64.set.fpcr(i64)",
        }
    return {f"declare void @llvm.x86.sse.{name}(ptr)" for name in ("stmxcsr", "ldmxcsr")}
