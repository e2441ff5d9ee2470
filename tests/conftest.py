"""Options of the whole suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The same examples in every run: a failure is a change's, never the draw's.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what is printed now into the golden files, to be read before it is committed",
    )
