"""Public packages, unchanged: accelerated, they give the same outputs to float32 rounding."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import pytest

from house import ROOT

torch = pytest.importorskip("torch")

PARTS = {
    "darts": ("darts", "pytorch_lightning"),
    "recbole": ("recbole",),
    "sb3-contrib": ("sb3_contrib", "gymnasium"),
}


def cases() -> dict[str, Callable[[], Any]]:
    """The table of benchmarks/packages.py."""
    spec = importlib.util.spec_from_file_location("packages", ROOT / "benchmarks" / "packages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["packages"] = module
    spec.loader.exec_module(module)
    found: dict[str, Callable[[], Any]] = module.CASES
    return found


@pytest.mark.parametrize("name", PARTS)
def test_an_accelerated_package_computes_the_same(name: str) -> None:
    for part in PARTS[name]:
        if importlib.util.find_spec(part) is None:
            pytest.skip(f"{part} is not installed")
    case = cases()[name]()
    assert case.swapped
    assert all(line.endswith("torch's -> grus'") for line in case.swapped)
    want, found = (output().double() for output in case.outputs)
    assert want.shape == found.shape
    assert want.abs().max() > 0
    # Up to 100 steps of chains of 256 products, each rounding 2**-24 of numbers of about 1 and
    # carried on by gates below 1; a forecast feeds on itself.
    assert (want - found).abs().max() <= 100 * 16 * 2.0**-24 * want.abs().max()


def test_every_package_of_the_script_is_run() -> None:
    assert set(cases()) == set(PARTS)
