"""Kernels share torch's threads where torch is there; without it they say that one thread runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from grus.kernels import call, layout, make_plan

if find_spec("torch"):
    import torch  # noqa: F401  brings the OpenMP runtime


def pytest_configure(config: pytest.Config) -> None:
    if not find_spec("torch"):
        config.addinivalue_line("filterwarnings", "ignore:grus. no OpenMP runtime")


@pytest.fixture
def recompiled() -> Iterator[None]:
    """Everything is planned and compiled anew, before and after a test that changes how."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    for cache in (call._kernel, make_plan, layout):
        cache.cache_clear()
