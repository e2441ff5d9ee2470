"""Programs evaluated in NumPy in the place of compiled ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest

from grus.kernels import call, jit
from grus.kernels.evaluation import Evaluation, Thread
from grus.kernels.loops_text import parse
from grus.kernels.machine import Machine
from grus.runtime import arrays

CACHED = ((call, "_kernel"), (jit, "_compiled"), (arrays, "forwards"), (arrays, "backwards"))
"""What remembers compiled programs."""


def caches() -> list[Any]:
    """New ones, which know no program yet."""
    return [lru_cache(getattr(*cache).__wrapped__) for cache in CACHED]


@contextmanager
def evaluated(
    machine: Machine | None = None, remembered: list[Any] | None = None
) -> Iterator[list[int]]:
    """Programs are not compiled but evaluated in NumPy, as they are read back from their own text:
    for this machine or another, anew or where ``remembered``. Yields how many threads each region
    had."""
    teams, parallel = [], Thread.parallel

    def counted(thread: Thread, function: Any, context: int, count: int) -> Any:
        teams.append(count)
        return parallel(thread, function, context, count)

    with pytest.MonkeyPatch.context() as patch:
        for cache, kept in zip(CACHED, remembered or caches(), strict=True):
            patch.setattr(*cache, kept)
        patch.setattr(jit, "executable", lambda loops, _: Evaluation(parse(str(loops))))
        if machine:
            patch.setattr(jit, "host", lambda: machine)
        patch.setattr(Thread, "parallel", counted)
        yield teams
