"""Progress of training: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from grus.models import Trainable

if TYPE_CHECKING:
    from grus.comparison import Trial

REFRESH = 0.25  # seconds between two looks at the bar
LINE = 15.0  # seconds after which a plain line appears even without a report


@contextmanager
def watching(run: Trainable) -> Iterator[PlainLines | Bar]:
    """The watch for `train.train`: a bar in a terminal, plain lines elsewhere."""
    if not Console().is_terminal:
        yield PlainLines(run)
        return
    columns = (
        BarColumn(),
        TextColumn("step {task.fields[now]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, refresh_per_second=4) as progress:
        yield Bar(run, progress)


class _Speed:
    """How much is gone through in a second since it was last asked."""

    def __init__(self, run: Trainable) -> None:
        self.step, self.at = run.progress.step, time.monotonic()

    def __call__(self, run: Trainable) -> float:
        step, at = run.progress.step, time.monotonic()
        speed = (step - self.step) * run.work[0] / max(at - self.at, 1e-9)
        self.step, self.at = step, at
        return speed


def _now(run: Trainable, speed: float) -> str:
    """``700 of 3000  loss 1.912  2.76 bits  61,000 characters/s``, as far as is known."""
    of = f" of {run.settings.steps}" if run.settings.steps is not None else ""
    known = f"  {run.spoken_loss}" if run.progress.loss_steps else ""
    return f"{run.progress.step}{of}{known}  {speed:,.0f} {run.work[1]}/s"


class PlainLines:
    """One line per report, and one now and then between reports that are far apart."""

    def __init__(self, run: Trainable) -> None:
        self.began, self.begun_at = time.monotonic(), run.done
        self.speed, self.shown = _Speed(run), time.monotonic()

    def step(self, run: Trainable) -> None:
        """Print a line if the last is a while ago."""
        if time.monotonic() - self.shown > LINE:
            self._print(f"step {_now(run, self.speed(run))}", run)

    def report(self, run: Trainable, metrics: Any) -> None:
        """Print the report's line."""
        self.speed(run)
        self._print(metrics.line(), run)

    def _print(self, line: str, run: Trainable) -> None:
        done = run.done - self.begun_at
        left = (time.monotonic() - self.began) * max(0.0, 1 - run.done) / done if done > 0 else 0.0
        print(f"{line}  {timedelta(seconds=round(left))} left", flush=True)
        self.shown = time.monotonic()


class Bar:
    """A bar of the run's progress; reports scroll above it."""

    def __init__(self, run: Trainable, progress: Progress) -> None:
        self.progress, self.speed, self.shown = progress, _Speed(run), -REFRESH
        self.task = progress.add_task("", total=1.0, now=_now(run, 0.0))

    def step(self, run: Trainable) -> None:
        """Move the bar, a few times a second."""
        if time.monotonic() - self.shown > REFRESH:
            now = _now(run, self.speed(run))
            self.progress.update(self.task, completed=min(run.done, 1.0), now=now)
            self.shown = time.monotonic()

    def report(self, run: Trainable, metrics: Any) -> None:
        """Print the report's line above the bar."""
        self.progress.console.print(metrics.line(), markup=False, highlight=False)


@contextmanager
def audience() -> Iterator[ComparisonDisplay]:
    """A bar in a terminal, a line for each run elsewhere."""
    if not Console().is_terminal:
        yield ComparisonDisplay()
        return
    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, TimeRemainingColumn(compact=True), refresh_per_second=4) as progress:
        yield ComparisonDisplay(progress)


class ComparisonDisplay:
    """A line for each run that ended, above a bar for all runs if there is one."""

    def __init__(self, bar: Progress | None = None) -> None:
        self.bar = bar
        self.task = None if bar is None else bar.add_task("", total=1.0)

    def progress(self, name: str, seed: int, done: float) -> None:
        """Move the bar; it redraws itself a few times a second."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, description=f"seed {seed}  {name}")

    def trial(self, trial: Trial) -> None:
        """Print the line of a run."""
        from grus.comparison import trial_line

        self.note(trial_line(trial))

    def note(self, line: str) -> None:
        """Print a line of something else."""
        if self.bar is None:
            print(line, flush=True)
        else:
            self.bar.console.print(line, markup=False, highlight=False)
