"""The machine's limits, measured in a process of their own: SGEMM, reading, and a triad."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from grus.errors import InputError
from grus_benchmarks.process import MACHINE, THREADS, command
from grus_benchmarks.roofline import Limits

PRODUCTS = (256, 512, 1024, 2048)
READS = tuple(2**k for k in (15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27))
"""Bytes for each thread."""
TRIAD = 2**24  # numbers in each of three arrays: 64 MiB
SECONDS = 0.04
REPEATS = 3
VECTORS = 8


def limits_of_machine(threads: int) -> Limits:
    """All three, in a process of their own. Raises InputError where that fails."""
    env = {**os.environ, **{key: str(threads) for key in THREADS}}
    done = subprocess.run(
        command(MACHINE, threads), env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        raise InputError(f"the machine's limits cannot be measured: {last[0]}")
    found = json.loads(done.stdout)
    return Limits(found["sgemm"], {int(n): r for n, r in found["read"].items()}, found["triad"])


def measure_limits(threads: int) -> Limits:
    """All three, with this many threads, here; takes some ten seconds."""
    import torch

    torch.set_num_threads(threads)
    return Limits(products(), {n * threads: reading(n, threads) for n in READS}, triad())


def products() -> dict[str, float]:
    """Operations a second of float32 products n x n, by torch and by NumPy."""
    import torch

    found: dict[str, float] = {}
    for n in PRODUCTS:
        a, b, c = (np.random.default_rng(k).random((n, n), np.float32) for k in range(3))
        s, t, u = map(torch.from_numpy, (a, b, c))
        calls: dict[str, Callable[[], Any]] = {
            f"torch {n}": partial(torch.mm, s, t, out=u),
            f"numpy {n}": partial(np.matmul, a, b, out=c),
        }
        found |= {name: 2.0 * n**3 / fastest_call(call) for name, call in calls.items()}
    return found


def triad() -> float:
    """Bytes a second of a = b + s c."""
    import torch

    a, b, c = (torch.rand(TRIAD) for _ in range(3))
    return 3 * 4 * TRIAD / fastest_call(lambda: torch.add(b, c, alpha=3.0, out=a))


def fastest_call(call: Callable[[], Any]) -> float:
    """Seconds of a call: the best of several stretches, since this is a limit."""
    call()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < REPEATS * SECONDS:
        once = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - once)
    return best


def reading(size: int, threads: int) -> float:
    """Bytes a second of all threads together, each reading ``size`` bytes again and again."""
    from grus.kernels.jit import Compiled

    code = Compiled(reader(), {})
    blocks = [Reader(size) for _ in range(threads)]
    again = max(1, int(5e10 * SECONDS / size))
    best = 0.0
    for _ in range(REPEATS):
        for block in blocks:
            block.words[2] = again
        begin = time.perf_counter()
        together(code.call, blocks)
        best = max(best, threads * size * again / (time.perf_counter() - begin))
    return best


class Reader:
    """The arguments of one thread: address, size, repetitions, and the place of the sum."""

    def __init__(self, size: int) -> None:
        room = np.ones(size // 4 + 16, np.float32)
        start = -room.ctypes.data % 64 // 4
        self.data = room[start : start + size // 4]
        self.sum = np.zeros(16, np.float32)
        self.words = np.array([self.data.ctypes.data, size, 0, self.sum.ctypes.data], np.int64)


def together(call: Callable[[int], Any], blocks: list[Reader]) -> None:
    """Run one call a thread; ctypes lets go of the interpreter's lock."""
    places = [ctypes.c_void_p(block.words.ctypes.data) for block in blocks]
    running = [threading.Thread(target=call, args=(place,)) for place in places]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def reader() -> str:
    """LLVM text: sum ``size`` bytes ``again`` times, in eight sums of sixteen numbers."""
    sums, step = range(VECTORS), 64 * VECTORS
    wide = "<16 x float>"
    phis = [f"  %s{k} = phi {wide} [ zeroinitializer, %entry ], [ %t{k}, %inner ]\n" for k in sums]
    body = []
    for k in sums:
        body += [
            f"  %o{k} = add i64 %i, {64 * k}\n",
            f"  %p{k} = getelementptr i8, ptr %data, i64 %o{k}\n",
            f"  %v{k} = load volatile {wide}, ptr %p{k}, align 64\n",
            f"  %t{k} = fadd {wide} %s{k}, %v{k}\n",
        ]
    adds = [f"  %u{k} = fadd {wide} %{f'u{k - 1}' if k > 1 else 't0'}, %t{k}\n" for k in sums[1:]]
    return "".join(
        [
            "define void @run(ptr %b) {\nentry:\n",
            "  %data = load ptr, ptr %b\n",
            *_word("size", 8),
            *_word("again", 16),
            "  %out.p = getelementptr i8, ptr %b, i64 24\n  %out = load ptr, ptr %out.p\n",
            "  br label %inner\ninner:\n",
            "  %i = phi i64 [ 0, %entry ], [ %i.to, %inner ]\n",
            "  %r = phi i64 [ 0, %entry ], [ %r.to, %inner ]\n",
            *phis,
            *body,
            f"  %i.next = add i64 %i, {step}\n  %end = icmp uge i64 %i.next, %size\n",
            "  %i.to = select i1 %end, i64 0, i64 %i.next\n",
            "  %one = zext i1 %end to i64\n  %r.to = add i64 %r, %one\n",
            "  %done = icmp uge i64 %r.to, %again\n",
            "  br i1 %done, label %exit, label %inner\nexit:\n",
            *adds,
            f"  store {wide} %u{VECTORS - 1}, ptr %out, align 4\n  ret void\n}}\n",
        ]
    )


def _word(name: str, offset: int) -> list[str]:
    return [
        f"  %{name}.p = getelementptr i8, ptr %b, i64 {offset}\n",
        f"  %{name} = load i64, ptr %{name}.p\n",
    ]
