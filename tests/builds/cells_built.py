"""Models of one cell, as tests of builds make them, and compilers to build them with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # its threads are what kernels share

from grus.builds.model import Model, layer
from grus.equations import Cell

INPUTS, HIDDEN = 5, 24
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion")


def weights_of(cell: Cell, inputs: int, hidden: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal weights of a cell, its axes alike where its equations ask for it."""
    known = {"input": inputs}
    for family in cell.families:
        for axis in cell.family_axes(family):
            known.setdefault(axis, inputs if cell.shapes.equal else hidden)
    draw = np.random.default_rng(seed)
    shapes = {family: cell.family_shape(family, known) for family in cell.families}
    return {f: (draw.normal(size=s) * 0.4).astype(np.float32) for f, s in shapes.items()}


def model_of(cell: Cell, inputs: int = INPUTS, hidden: int = HIDDEN) -> Model:
    """One layer of a cell."""
    weights = weights_of(cell, inputs, hidden)
    return Model((layer(cell.name, cell, weights, inputs),))


def compiled(
    folder: Path,
    compiler: str,
    *flags: str,
    sources: str = "model.c model_test.c",
    program: str = "test",
    run: bool = True,
) -> str:
    """Compile a test and run it: what it prints. Skips where there is no such compiler."""
    if not shutil.which(compiler.split(maxsplit=1)[0]):
        pytest.skip(f"there is no {compiler}")
    command = [*compiler.split(), *flags, *sources.split(), "-o", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = [str(folder / program)]
    return (
        subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout
        if run
        else ""
    )
