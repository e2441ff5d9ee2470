"""A search is kept in its folder: what is killed goes on as if it had not been."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("optuna")

import forked
from grus.comparison import TaskCourse
from grus.equations import CELLS
from grus.errors import InputError
from grus.models import TASKS, Settings
from grus.search import SEEDS, Search

STEPS, CELLS_TRIED = 30, 6
MIDST = 6_000
"""Bytes of a journal in which the third cell or so is being trained."""
COMMAND = (
    "search --task adding --lag 4 --hidden 4 --batch 8 --threads 1 --finalists 0"
    f" --steps {STEPS} --cells {CELLS_TRIED} --out"
).split()


def course(lag: int = 4) -> TaskCourse:
    settings = Settings(steps=STEPS, batch=8, lr=0.01, threads=1, report_every=3, dropout=0.0)
    return TaskCourse(TASKS["adding"](lag), settings)


def try_some(study: Search, count: int) -> None:
    while len(study.candidates) < count:
        assert study.step(lambda share: None, lambda: False) is not None


def test_a_search_begins_with_known_cells_at_equal_parameters_and_stops_bad_runs(
    tmp_path: Path,
) -> None:
    study = Search(course(), tmp_path, 4, 0)
    asked = study.sized("gru", CELLS["gru"])
    assert asked.hidden == 4
    try_some(study, 9)
    tried = study.candidates
    assert [each.name for each in tried[:5]] == [*SEEDS, "c4"]
    assert all(each.finished for each in tried[: len(SEEDS)])
    assert not all(each.finished for each in tried)
    assert len({each.cell for each in tried}) == 9
    for each in tried:
        off = abs(each.parameters - asked.parameters)
        for other in {max(1, each.hidden - 1), each.hidden + 1}:
            assert off <= abs(study.course.parameters(each.cell, other) - asked.parameters)
    losses = [each.loss for each in study.best]
    assert losses == sorted(losses)


def test_a_search_that_is_stopped_leaves_no_trace_and_other_settings_are_refused(
    tmp_path: Path,
) -> None:
    study = Search(course(), tmp_path, 4, 0)
    try_some(study, 1)
    assert study.step(lambda share: None, lambda: True) is None
    again = Search(course(), tmp_path, 4, 0)
    assert [each.name for each in again.candidates] == ["gru"]
    with pytest.raises(InputError, match=r"holds a search with other hidden, seed$"):
        Search(course(), tmp_path, 5, 1)
    with pytest.raises(InputError, match=r"holds a search with other course$"):
        Search(course(5), tmp_path, 4, 0)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_search_killed_in_a_run_finds_what_one_that_was_not_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRUS_BACKEND", "reference")  # so that no cell is compiled three times
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    forked.run(*COMMAND, str(whole), timeout=300).check_returncode()
    journal = cut / "journal.log"
    process = forked.start(*COMMAND, str(cut))
    deadline = time.monotonic() + 120
    while not journal.exists() or journal.stat().st_size < MIDST:
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    forked.run(*COMMAND, str(cut), timeout=300).check_returncode()
    boards = [json.loads((folder / "leaderboard.json").read_text()) for folder in (whole, cut)]
    for board in boards:
        assert len(board) == CELLS_TRIED
        for record in board:
            del record["seconds"]
    assert boards[0] == boards[1]
