"""How many threads a call may use, and the OpenMP runtime they come from.

The pool is torch's own: the runtime that torch has loaded is called, a second one is never
loaded. Without one, rows of a batch are shared among Python's threads (`pool`), and what cannot be
shared so runs on a single thread, which is said once.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

from grus.kernels.backend import say_once

SYMBOLS = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads")

MAPS = "/proc/self/maps"

hidden_split = threading.Lock()
"""Held while a call splits hidden units: its barriers need every thread of the team awake, so
there is one such region at a time and a second caller gets one thread."""


class _Process:
    """What can change while the process lives."""

    forked = False
    looked: bool | None = None
    """Whether torch was there when the runtime was last looked for."""
    runtime: dict[str, int] | None = None
    max_threads: Any = None


def _after_fork() -> None:
    # The pool's threads did not survive the fork; asking for them again would hang.
    _Process.forked = True
    hidden_split.release() if hidden_split.locked() else None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _loaded_runtime() -> str:
    """The path of the OpenMP runtime already in this process, torch's own first, or nothing."""
    try:
        with open(MAPS, encoding="utf-8") as maps:
            lines = [line for line in maps if "libgomp" in line]
    except OSError:
        return ""
    # After an upgrade under a running process; the name finds the loaded one all the same.
    paths = {line.split(maxsplit=5)[5].strip().removesuffix(" (deleted)") for line in lines}
    return min(paths, key=lambda path: ("torch" not in path, path), default="")


def _library(path: str) -> ctypes.CDLL | None:
    """The library that is loaded from there; None where it cannot be reached."""
    try:
        return ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None


def openmp() -> dict[str, int]:
    """The addresses of the runtime's entry points; empty where there is no runtime to share.

    Looked up once, and once more when torch has come, since torch brings the runtime.
    """
    torch = "torch._C" in sys.modules
    if _Process.looked != torch:
        path = _loaded_runtime()
        library = _library(path) if path else None
        if library is not None:
            _Process.max_threads = library.omp_get_max_threads
            _Process.runtime = {
                name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
                for name in SYMBOLS
            }
        _Process.looked = torch  # last, for threads that come here meanwhile
    return _Process.runtime or {}


def limit() -> int:
    """The most OpenMP threads a call may use: torch's number, the CPUs it may run on, one after
    fork."""
    if _Process.forked:
        return 1
    if not openmp():
        if cpus() > 1:
            say_once("no OpenMP runtime is loaded that the kernels could share; one thread runs")
        return 1
    return max(1, min(int(_Process.max_threads()), cpus()))


def python_threads() -> int:
    """The most of Python's threads that may share a call: 1 where OpenMP's do, and after fork."""
    if _Process.forked or openmp():
        return 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")  # what a runtime would read
    return min(cpus(), int(wanted)) if wanted.isdecimal() and int(wanted) else cpus()


def cpus() -> int:
    """The processors that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
