"""How many threads a call may use, and the OpenMP runtime they come from.

The pool is torch's own: the runtime that torch has loaded is called, a second one is never
loaded. Without it there is one thread, which is said once.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import warnings
from functools import lru_cache

SYMBOLS = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads")

hidden_split = threading.Lock()
"""Held while a call splits hidden units: its barriers need every thread of the team awake, so
there is one such region at a time and a second caller gets one thread."""

_forked = False


def _after_fork() -> None:
    global _forked  # noqa: PLW0603  a fork is a fact about the process
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=1)
def _loaded_runtime() -> str:
    """The path of the OpenMP runtime already in this process, or nothing."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if "libgomp" in line}
    except OSError:
        return ""
    return min(paths, default="")


@lru_cache(maxsize=1)
def symbols() -> dict[str, int]:
    """The runtime's entry points by name; empty where there is no runtime to share."""
    path = _loaded_runtime()
    if not path:
        return {}
    library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    return {name: int(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0)
            for name in SYMBOLS}  # fmt: skip


def openmp() -> dict[str, int]:
    """`symbols`, looked up again as long as torch has not been imported."""
    if not symbols.cache_info().currsize or "torch" not in sys.modules or symbols():
        found = symbols()
        if not found:
            _forget()
        return found
    return {}


def _forget() -> None:
    if "torch" not in sys.modules:
        symbols.cache_clear()
        _loaded_runtime.cache_clear()


def limit() -> int:
    """The most threads a call may use: torch's number, the CPUs it may run on, one after fork."""
    if _forked:
        return 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = openmp()
    if not found:
        if "torch" in sys.modules and cpus > 1:
            _say_once("no OpenMP runtime is loaded that kernels could share: they use one thread")
        return 1
    wanted = ctypes.CFUNCTYPE(ctypes.c_int)(found["omp_get_max_threads"])()
    return max(1, min(int(wanted), cpus))


@lru_cache(maxsize=8)
def _say_once(message: str) -> None:
    warnings.warn(f"grus: {message}", RuntimeWarning, stacklevel=3)
