"""A fresh Python for what a process can do only once: environment, forks, limits of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TIMEOUT = 120.0
"""Seconds; importing torch and compiling take a few on a busy machine, a hang takes for ever."""

# One row of 256 hidden units: split by hidden units, with a barrier at each step.
SETUP = """
import faulthandler, os, time, warnings
import numpy as np
import torch
from agreement import draw
from bits import forward, gradients, parts, same
from cells import ALL_CELLS
from grus.kernels import call, split
from grus.runtime import prepared

one_row = draw(ALL_CELLS["gru"], (100, 1, 64, 256), "float32")
many_rows = draw(ALL_CELLS["gru"], (20, 32, 16, 64), "float32")
seen, right = [], split.choose

def choose(work, most):
    chosen = right(work, most)
    seen.append((chosen.threads, chosen.by_hidden))
    return chosen

prepared.choose = choose
"""

needs_torch = pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
needs_two = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="this machine gives the tests one processor",
)


def run(code: str, timeout: float = TIMEOUT, **environment: str) -> str:
    """Run ``code``; what it printed. Fails where it fails, or hangs for longer than ``timeout``."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(TESTS), str(TESTS / "kernels"), *before]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment
    # Threads as the machine has them, unless the test says otherwise.
    if "OMP_NUM_THREADS" not in environment:
        env.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, "-X", "faulthandler", "-W", "error", "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            printed, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its forked children too
            pytest.fail(f"hung for {timeout} seconds")
    assert process.returncode == 0, f"exit code {process.returncode}: {said[-3000:]}"
    return printed
