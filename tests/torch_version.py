"""Tests that need a newer torch than the oldest that is supported say so where they are skipped."""

from __future__ import annotations

import pytest
from torch import __version__
from torch.torch_version import TorchVersion


def since(version: str, why: str) -> pytest.MarkDecorator:
    """Skips the test with a torch before ``version``."""
    old = TorchVersion(__version__) < version
    return pytest.mark.skipif(old, reason=f"needs torch {version}, is {__version__}: {why}")


composite_in_one_graph = since("2.9", "before it Dynamo looks up no frozen dataclass in a dict")
