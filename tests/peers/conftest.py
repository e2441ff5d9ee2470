"""Other frameworks: where they are not installed, their tests skip and say so."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest

# Read when Keras is first imported, which is inside a test.
os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras-"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is marked; what others warn of is not our error."""
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.peers)
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def jax_as_it_comes() -> Iterator[None]:
    """A test that needs float64 of JAX switches it on for the whole process: off again after it."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)
