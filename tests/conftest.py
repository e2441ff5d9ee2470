"""Options of the whole suite."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The same examples in every run: a failure is a change's, never the draw's.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

# Processes of tests share the processors: threads of OpenMP that spin while they wait take a fifth
# of the time. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what is printed now into the golden files, to be read before it is committed",
    )


LONG = (
    *("test_docs.py", "test_kill.py", "test_every_stage.py", "test_study.py", "test_notebooks.py"),
    *("test_identify.py", "test_train.py", "test_stepper.py", "test_memory.py", "test_bench.py"),
)
"""Files of few tests that take long: begun first, so that no process is left alone with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those of `LONG` first; the order of all others stays."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="module", autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Drop what torch.compile holds: it refuses an eighth layer class in one process."""
    yield
    if dynamo := sys.modules.get("torch._dynamo"):
        dynamo.reset()
