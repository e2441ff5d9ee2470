"""One compilation at a time in a process, and programs that are compiled once for each dtype."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from grus.kernels import threads
from grus.kernels.machine import DType, Target

compiling = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A fork waits for a compilation under way: the child would inherit a lock that nobody opens.
    os.register_at_fork(
        before=compiling.acquire,
        after_in_parent=compiling.release,
        after_in_child=compiling.release,
    )

Text = Callable[[Target, bool], str]
"""A program as LLVM text; the bit says whether there are threads to share its work."""


def compiled(text: Text, dtype: DType) -> Any:
    """The program: its ``target``; to ``call`` with the address of its block, or by its
    ``address``."""
    from grus.kernels.jit import host

    with compiling:
        return _compile(text, Target(host(), dtype), bool(threads.openmp()))


@lru_cache(maxsize=16)
def _compile(text: Text, target: Target, openmp: bool) -> Any:
    from grus.kernels.jit import Compiled

    found = Compiled(text(target, openmp), threads.openmp() if openmp else {})
    found.target = target
    return found
