"""The real thing: a training process killed at random moments, resumed, and compared bit by bit."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest
import torch

import forked
from grus.models import kept_run
from grus.models.checkpoint import load
from small_run import prose_file

STEPS = 1000
OPTIONS = (
    f"--hidden 12 --embedding 6 --seq-len 5 --batch 4 --steps {STEPS} --dropout 0.2"
    " --report-every 1 --threads 1"
).split()
KILLS = 4


def run_to_the_end(*arguments: str) -> None:
    forked.run("train", *arguments, timeout=120).check_returncode()


def kill_after(delay: float, folder: Path, *arguments: str) -> bool:
    """Start, wait ``delay`` seconds from the first sign of training, kill -9: was it still on?"""
    before = (folder / kept_run.LAST).stat().st_mtime_ns if (folder / kept_run.LAST).exists() else 0
    process = forked.start("train", *arguments)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.is_alive():
        last = folder / kept_run.LAST
        if last.exists() and last.stat().st_mtime_ns != before:
            break
        time.sleep(0.002)
    time.sleep(delay)
    killed = process.is_alive()
    process.kill()
    process.join()
    return killed


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """After every kill the folder holds a whole checkpoint; the resumed weights are the same."""
    file = str(prose_file(tmp_path))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_to_the_end(file, *OPTIONS, "--out", str(whole))
    arguments = [file, *OPTIONS, "--out", str(cut)]
    moments = random.Random(5)
    stopped_at = []
    for _ in range(KILLS):
        assert kill_after(moments.uniform(0, 0.2), cut, *arguments), "it ended before the kill"
        assert all(load(left).settings.steps == STEPS for left in cut.glob("*.safetensors"))
        stopped_at.append(load(cut / kept_run.LAST).progress.step)
        arguments = ["--resume", str(cut)]
    assert 0 < stopped_at[-1] < STEPS
    run_to_the_end(*arguments)
    for name in (kept_run.LAST, kept_run.BEST):
        expected, found = load(whole / name), load(cut / name)
        for key, tensor in expected.tensors.items():
            assert torch.equal(tensor, found.tensors[key]), (name, key)
        assert expected.progress.best_step == found.progress.best_step
    steps = [json.loads(line)["step"] for line in (cut / kept_run.METRICS).read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Of two that go on at once one is refused; kill -9 of the first gives the run free."""
    cut = tmp_path / "cut"
    endless = ["1000000" if o == str(STEPS) else o for o in OPTIONS]
    new, again = [str(prose_file(tmp_path)), *endless, "--out", str(cut)], ["--resume", str(cut)]
    ended = b""
    for arguments in (new, again):
        first = forked.start("train", *arguments)
        deadline = time.monotonic() + 60
        while (
            not (cut / kept_run.METRICS).exists() or (cut / kept_run.METRICS).read_bytes() == ended
        ):
            assert first.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        second = forked.run("train", *again, timeout=60)
        assert first.is_alive()
        assert second.returncode == 2
        assert "is being trained by another process" in second.stderr
        first.kill()
        first.join()
        ended = (cut / kept_run.METRICS).read_bytes()
    run_to_the_end(
        "--resume", str(cut), "--steps", str(load(cut / kept_run.LAST).progress.step + 5)
    )
    steps = [json.loads(line)["step"] for line in (cut / kept_run.METRICS).read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))
