"""Kernels share torch's threads where torch is there; without it they say that one thread runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec

import pytest

from grus.kernels import call, layout, make_plan
from grus.runtime import arrays
from grus.runtime.gradients import recipe

if find_spec("torch"):
    import torch  # noqa: F401  brings the OpenMP runtime


def pytest_configure(config: pytest.Config) -> None:
    if not find_spec("torch"):
        config.addinivalue_line("filterwarnings", "ignore:grus. no OpenMP runtime")


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Sets how many bytes of hoisted products are computed ahead, in calls laid out after it."""

    def of(size: int) -> None:
        monkeypatch.setattr(call, "CHUNK_BYTES", size)
        arrays.forwards.cache_clear()
        arrays.backwards.cache_clear()

    yield of
    arrays.forwards.cache_clear()
    arrays.backwards.cache_clear()


@pytest.fixture
def recompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a test that changes how kernels are made: it begins with none, and leaves none behind."""
    monkeypatch.setattr(call, "_kernel", lru_cache(call._kernel.__wrapped__))
    caches = (make_plan, layout, recipe, arrays.forwards, arrays.backwards)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()
