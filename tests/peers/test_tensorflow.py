"""TensorFlow 1's cell and Keras 2's layer, run by an interpreter of their own.

GRUS_TENSORFLOW_PYTHON names one that has tensorflow and tf-keras:
    python -m venv tf && tf/bin/pip install tensorflow tf-keras
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from grus.dialects import convert, find

PYTHON = os.environ.get("GRUS_TENSORFLOW_PYTHON", "")
SCRIPT = Path(__file__).with_name("tensorflow_cells.py")
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 3, 4
Tensors = dict[str, np.ndarray]


def tensorflow(tensors: Tensors, x: np.ndarray, h0: np.ndarray, folder: Path) -> np.ndarray:
    """What it gives; ``h0`` has a leading axis of states for an LSTM's h and c."""
    if not PYTHON:
        pytest.skip("GRUS_TENSORFLOW_PYTHON names no interpreter with tensorflow and tf-keras")
    start = {"h0": h0} if h0.ndim == 2 else {"h0": h0[0], "c0": h0[1]}
    np.savez(folder / "given.npz", x=x, **start, **tensors)  # type: ignore[arg-type]
    words = [PYTHON, str(SCRIPT), str(folder / "given.npz"), str(folder / "done.npz")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.asarray(np.load(folder / "done.npz")["output"])


def draw(name: str) -> Tensors:
    rng, dialect = np.random.default_rng(0), find(name)
    shapes = {t.name: t.shape(HIDDEN, INPUTS, dialect.columns) for t in dialect.tensors}
    return {key: rng.normal(0, 0.5, shape) for key, shape in shapes.items()}


LSTMS = ("keras_cudnn_lstm", "keras_1_lstm", "tf1_lstm")


@pytest.mark.parametrize("name", ["tf1", "keras_2", "keras_cudnn", "keras_1", *LSTMS])
def test_tensorflow_computes_what_its_record_says(name: str, tmp_path: Path) -> None:
    tensors, rng = draw(name), np.random.default_rng(1)
    x, states = rng.normal(size=(STEPS, BATCH, INPUTS)), 1 + (name in LSTMS)
    h0 = rng.normal(size=(states, BATCH, HIDDEN))
    theirs = tensorflow(tensors, x, h0 if states == 2 else h0[0], tmp_path)
    ours = find(name).read(tensors).run(x, tuple(h0[:, None])).output
    # As for the other frameworks: sums of I + H products, a dozen roundings, five steps.
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=2**STEPS * 19 * 2.0**-53)


def test_a_haiku_cell_runs_in_tensorflow_1_and_comes_back(tmp_path: Path) -> None:
    haiku, rng = draw("haiku"), np.random.default_rng(1)
    there = convert(haiku, "haiku", "tf1")
    x, h0 = rng.normal(size=(STEPS, BATCH, INPUTS)), rng.normal(size=(BATCH, HIDDEN))
    theirs = tensorflow(there.tensors, x, h0, tmp_path)
    ours = find("haiku").read(haiku).run(x, h0[None]).output
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=2**STEPS * 19 * 2.0**-53)
    back = convert(there.tensors, "tf1", "haiku").tensors
    assert all(np.array_equal(back[key], haiku[key]) for key in haiku)
