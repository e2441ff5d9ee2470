"""The threads of one call: a parallel region of the OpenMP runtime around ``member``."""

from __future__ import annotations

from grus.kernels.code import Code
from grus.kernels.ir import Function


def share(entry: Code, openmp: bool) -> list[Function]:
    """Print the call of ``member(ctx, tid, team)`` by as many threads as the slot of that name
    says; gives the functions that this needs besides. Without ``openmp`` there is one thread.

    The runtime may give fewer threads than asked for: ``team`` is what it gave.
    """
    if not openmp:
        entry.emit("call void @member(ptr %ctx, i64 0, i64 1)")
        return []
    region = Code(entry.target, "region", ["ptr %ctx"], entry.slots)
    region.quick = entry.quick
    tid = region.let(f"sext i32 {region.call('i32', 'omp_get_thread_num')} to i64")
    team = region.let(f"sext i32 {region.call('i32', 'omp_get_num_threads')} to i64")
    region.emit(f"call void @member(ptr %ctx, i64 {tid}, i64 {team})")
    threads = entry.slot("threads")
    several = entry.let(f"icmp sgt i64 {threads}, 1")
    alone = entry.let(f"xor i1 {several}, true")
    count = entry.let(f"trunc i64 {threads} to i32")
    call = f"call void @GOMP_parallel(ptr @region, ptr %ctx, i32 {count}, i32 0)"
    entry.externals.add("declare void @GOMP_parallel(ptr, ptr, i32, i32)")
    entry.when(several, lambda: entry.emit(call))
    entry.when(alone, lambda: entry.emit("call void @member(ptr %ctx, i64 0, i64 1)"))
    return [region]
