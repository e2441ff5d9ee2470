"""A fresh Python for what a process can do only once: environment, forks, limits of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TIMEOUT = 120.0
"""Seconds; importing torch and compiling take a few on a busy machine, a hang takes for ever."""

needs_torch = pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
needs_two = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="this machine gives the tests one processor",
)


def run(code: str, timeout: float = TIMEOUT, **environment: str) -> str:
    """Run ``code``; what it printed. Fails where it fails, or hangs for longer than ``timeout``."""
    paths = [str(TESTS), str(TESTS / "kernels")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment
    # Threads as the machine has them, unless the test says otherwise.
    if "OMP_NUM_THREADS" not in environment:
        env.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, "-X", "faulthandler", "-W", "error", "-c", code]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"hung for {timeout} seconds")
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout
