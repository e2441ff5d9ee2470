"""What belongs to the caller's process stays as it was: compared before and after."""

from __future__ import annotations

import locale
import logging
import os
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import grus
from grus.comparison.contestants import Contestant
from grus.comparison.run import step_seconds
from grus.comparison.tasks import TaskCourse
from grus.equations import CELLS
from grus.models import run as runs
from grus.models.held import hold_model
from grus.models.sample import sample
from grus.models.settings import Settings
from grus.models.tasks import Adding
from grus.traces.flow import gradient_flow
from small_run import finish, go_on, start


def state() -> dict[str, Any]:
    """The process' settings that a library has no business with."""
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": [str(part) for part in np.random.get_state()],
        "random": random.getstate(),
        "numpy errors": np.geterr(),
        "numpy print": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "locale": locale.setlocale(locale.LC_ALL),
    }


def layers(_: Path) -> None:
    random_state = torch.get_rng_state()
    model, layer = nn.Sequential(nn.GRU(2, 3)), grus.GRU(2, 3)
    torch.set_rng_state(random_state)  # new weights are drawn as torch's layers draw them
    grus.restore(grus.accelerate(model, say=None), say=None)
    layer(torch.zeros(4, 1, 2))[0].sum().backward()
    grus.trace(layer, torch.zeros(4, 1, 2))
    gradient_flow(layer, lags=3)
    gradient_flow("lstm", lags=3)


def training(folder: Path) -> None:
    threads = torch.get_num_threads() + 1
    finish(start(folder, Settings(seq_len=5, batch=4, steps=9, threads=threads)), after=4)
    run = go_on(folder)
    finish(run)
    model = runs.load_last(folder / "run").model()
    list(sample(model, "a", 3))
    hold_model(model, {"z": 0.5})


def comparing(_: Path) -> None:
    course = TaskCourse(Adding(4), Settings(steps=2, batch=2, threads=2))
    step_seconds(course, Contestant("gru", CELLS["gru"], 3, {}, 0))


def numbers(_: Path) -> None:
    w, u = np.zeros((9, 2)), np.zeros((9, 3))
    grus.identify([w, u, np.zeros(9), np.zeros(9)], np.zeros((2, 2)), np.zeros((2, 3)))
    grus.equivalent("torch", "keras")


@pytest.mark.parametrize("use", [layers, training, comparing, numbers])
def test_the_state_of_the_process_is_the_callers(
    use: Callable[[Path], None], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    before = state()
    use(tmp_path)
    after = state()
    assert {k for k in before if before[k] != after[k]} == set()
