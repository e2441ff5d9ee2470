"""Cells trained side by side: the same data and budget, the same bits twice, Ctrl-C, divergence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from grus.comparison.contestants import contestants
from grus.comparison.courses import Course, TaskCourse, TextCourse
from grus.comparison.trials import (
    Outcome,
    Trial,
    announcement,
    compare,
    expected_seconds,
    sized,
    step_seconds,
)
from grus.comparison.verdict import as_json, draw_curves, table
from grus.errors import InputError
from grus.models.corpus import Source, read
from grus.models.memory_tasks import Adding, Copying
from grus.models.settings import Settings
from small_run import prose_file

QUICK: dict[str, Any] = {"batch": 4, "lr": 0.01, "dropout": 0.0, "report_every": 5, "seq_len": 5}


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.shares: list[float] = []

    def progress(self, name: str, seed: int, done: float) -> None:
        self.shares.append(done)

    def trial(self, trial: Trial) -> None:
        self.trials.append(trial)


def task_course(**changes: Any) -> Course:
    return TaskCourse(Adding(6), Settings(**{**QUICK, "steps": 15, **changes}))


def text_course(folder: Path, **changes: Any) -> Course:
    source = Source(str(prose_file(folder)))
    return TextCourse(source, read(source), Settings(**{**QUICK, "steps": 15, **changes}), 6)


def outcome(
    course: Course,
    cells: str = "rnn,gru",
    seeds: int = 2,
    hidden: int = 6,
    stop: Callable[[], bool] = lambda: False,
    match: str = "params",
) -> Outcome:
    found = sized(course, contestants(cells, [], 1.0, hidden), match)
    return compare(course, found, range(seeds), Listener(), stop)


def both(folder: Path) -> dict[str, Callable[[], Course]]:
    return {
        "adding": task_course,
        "copy": lambda: TaskCourse(Copying(3), Settings(**QUICK, steps=15)),
        "text": lambda: text_course(folder),
    }


@pytest.mark.parametrize("kind", ["adding", "copy", "text"])
def test_two_comparisons_give_the_same_bits(kind: str, tmp_path: Path) -> None:
    """And other seeds give others, so that the losses do depend on what was drawn."""
    found = [outcome(both(tmp_path)[kind](), "rnn,gru,lstm") for _ in range(2)]
    losses = [[(t.name, t.seed, t.steps, t.losses, t.best) for t in one.trials] for one in found]
    assert losses[0] == losses[1]
    assert len({trial[3] for trial in losses[0]}) == 6
    assert all(trial[2] == (5, 10, 15) for trial in losses[0])


def test_a_cell_alone_trains_as_it_does_among_others() -> None:
    among, alone = outcome(task_course(), "rnn,lstm"), outcome(task_course(), "lstm")
    assert [t.losses for t in among.of("lstm")] == [t.losses for t in alone.of("lstm")]


def test_all_cells_read_the_same_text_whatever_their_size(tmp_path: Path) -> None:
    """Over several epochs: the offsets are drawn by what all runs share."""
    course, read_by = text_course(tmp_path), []
    for one in sized(course, contestants("rnn,lstm", [], 0.0, 6), "params"):
        run: Any = course.start(one, 3, tmp_path / one.name)
        chunks = []
        for _ in range(100):
            x, y = run.chunk()
            loss, _ = run.model.train().loss(x, y, None, run.generator)
            run.advance(loss.detach(), None, 0.0)
            chunks.append(x)
        assert run.progress.epoch >= 2
        read_by.append(torch.stack(chunks))
    assert torch.equal(*read_by)


def test_the_best_is_the_lowest_validation_loss_of_the_run() -> None:
    for trial in outcome(task_course(steps=40)).trials:
        assert trial.best == min(trial.losses)
        assert trial.step_seconds > 0
        assert trial.diverged == ""


def test_a_run_that_was_stopped_is_left_out() -> None:
    """The third run is broken off in its middle."""
    asked = iter(range(10**6))
    found = outcome(task_course(), "rnn,gru", 2, stop=lambda: next(asked) > 37)
    assert [(t.name, t.seed) for t in found.trials] == [("rnn", 0), ("gru", 0)]
    assert not found.finished
    assert "Stopped after 2 of 4 runs." in table(task_course(), found)


def test_stopped_at_once_it_says_so() -> None:
    course = task_course()
    found = outcome(course, stop=lambda: True)
    assert table(course, found) == ["no run was finished"]
    assert json.loads(as_json(course, found, "params"))["verdict"] is None


def test_a_run_that_diverges_is_kept_and_named() -> None:
    """A rate of 1e30 leaves no finite weight after the second step."""
    course = task_course(lr=1e30, clip=0.0)
    found = outcome(course, "rnn,gru")
    assert found.finished
    assert all("no longer finite at step" in t.diverged for t in found.trials)
    assert all(math.isinf(t.best) for t in found.trials)
    written = json.loads(as_json(course, found, "params"))
    assert [t["best"] for c in written["contestants"] for t in c["trials"]] == [None] * 4
    assert "diverged" in "\n".join(table(course, found))


def test_a_run_whose_loss_explodes_is_kept_and_named() -> None:
    found = outcome(task_course(lr=100.0, clip=0.0), "rnn,gru")
    assert found.finished
    assert all("loss exploded: " in t.diverged for t in found.trials)


def test_a_run_that_diverges_on_its_first_step_has_no_time() -> None:
    steep = {**QUICK, "batch": 32, "lr": 1e38, "clip": 0.0, "steps": 3, "report_every": 1}
    course = TaskCourse(Copying(5), Settings(**steep))
    found = outcome(course, "gru,rnn", 1, hidden=4)
    assert [t.step_seconds for t in found.trials] == [None, None]
    written = json.loads(as_json(course, found, "params"))
    assert [t["step_seconds"] for c in written["contestants"] for t in c["trials"]] == [None] * 2
    said = table(course, found)
    for cell, row in zip(("gru", "rnn"), map(str.split, said[2:4]), strict=True):
        assert row[7:11] == ["-", "diverged", "diverged", "diverged"]
        assert f"{cell} fails: every seed diverged." in said


def test_a_budget_of_seconds_ends_each_run() -> None:
    found = outcome(task_course(steps=None, seconds=0.05), seeds=1)
    assert found.finished
    assert all(t.steps for t in found.trials)


def test_knowing_the_frequencies_of_the_text_is_its_baseline(tmp_path: Path) -> None:
    """By hand: -log2 of (count + 1) / (all + symbols), the mean over the tail."""
    course = text_course(tmp_path)
    assert isinstance(course, TextCourse)
    ids = course.text.ids.tolist()
    tail = int(len(ids) * 0.1)
    head, rest, symbols = ids[:-tail], ids[-tail:], len(course.text.vocabulary)
    bits = [-math.log2((head.count(s) + 1) / (len(head) + symbols)) for s in rest]
    assert course.baseline == pytest.approx(sum(bits) / len(bits))


def test_a_text_without_a_tail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too short to hold a tail out"):
        text_course(tmp_path, holdout=0.0)


def test_what_will_be_done_is_said_and_reckoned() -> None:
    course = task_course()
    found = sized(course, contestants("rnn,lstm", [], 1.0, 6), "params")
    said = "\n".join(announcement(course, found, 5, "params"))
    assert "10 runs (2 cells, 5 seeds) of 15 steps" in said
    assert f"knowing nothing (always 1): {course.baseline:.4g} (expected 0.1667)" in said
    assert "lstm: 6 hidden" in said
    assert "gate bias f 1, i -1" in said
    assert 0 < expected_seconds(course, found, 5) < 60
    assert expected_seconds(task_course(steps=None, seconds=7.0), found, 5) == 70.0


def test_measuring_leaves_the_runs_alone() -> None:
    course = task_course()
    found = sized(course, contestants("gru", [], 0.0, 6), "hidden")
    step_seconds(course, found[0])
    after = compare(course, found, range(2), Listener(), lambda: False)
    assert [t.losses for t in after.trials] == [
        t.losses for t in compare(task_course(), found, range(2), Listener(), lambda: False).trials
    ]


def test_progress_goes_from_nothing_to_all() -> None:
    course, listener = task_course(), Listener()
    found = sized(course, contestants("rnn,gru", [], 0.0, 6), "hidden")
    compare(course, found, range(2), listener, lambda: False)
    assert listener.shares == sorted(listener.shares)
    assert listener.shares[-1] == 1.0
    assert len(listener.trials) == 4


def test_sizes_matched_by_time_are_measured_here() -> None:
    """Whatever the machine says, the slowest keeps its size and nobody gets smaller."""
    found = sized(task_course(), contestants("rnn,lstm", [], 0.0, 24), "time")
    assert min(one.hidden for one in found) == 24


@pytest.mark.slow
def test_the_plain_network_fails_where_gated_ones_do_not() -> None:
    """The adding problem over 100 steps, a small form of what the documentation shows."""
    course = TaskCourse(Adding(100), Settings(steps=700, lr=0.01, dropout=0.0, report_every=50))
    found = sized(course, contestants("rnn,gru,lstm", [], math.log(100) - 1, 24), "params")
    best = compare(course, found, range(1), Listener(), lambda: False).best()
    assert best["rnn"][0] > 0.9 * course.baseline
    assert max(best["gru"][0], best["lstm"][0]) < 0.1 * course.baseline


def test_the_figure_shows_every_cell_and_what_knowing_nothing_gives(tmp_path: Path) -> None:
    course, path = task_course(), tmp_path / "curves.svg"
    draw_curves(course, outcome(course, "rnn,gru"), path)
    drawn = path.read_text()
    for words in ("rnn (2 seeds)", "gru (2 seeds)", "knowing nothing", "adding, lag 6"):
        assert f">{words}<" in drawn


def test_what_diverged_before_it_was_seen_cannot_be_drawn(tmp_path: Path) -> None:
    course = task_course(lr=1e30, clip=0.0)
    with pytest.raises(InputError, match="nothing to draw"):
        draw_curves(course, outcome(course), tmp_path / "curves.svg")
    assert list(tmp_path.iterdir()) == []


def test_the_flow_reaches_back_over_the_whole_sequence(tmp_path: Path) -> None:
    """A gate that forgets at once loses the gradient; one that keeps keeps most of it."""
    trial = outcome(task_course(), "gru", 1).trials[0]
    assert len(trial.flow) == len(trial.flow_before) == 6
    assert trial.flow != trial.flow_before
    left = []
    for bias in ("z=-4", "z=6"):
        course = TaskCourse(Adding(30), Settings(**QUICK, steps=1))
        found = sized(course, contestants("gru", [bias], 0.0, 6), "hidden")
        flow = compare(course, found, range(1), Listener(), lambda: False).trials[0].flow_before
        left.append(flow[-1] / flow[0])
    assert left[0] < 1e-6
    assert 0.5 < left[1] < 2
    assert len(outcome(text_course(tmp_path), "gru", 1).trials[0].flow) > 50
