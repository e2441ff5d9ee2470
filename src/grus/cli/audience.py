"""A comparison as it is shown while it goes on: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from grus.comparison.run import Trial
from grus.comparison.table import trial_line


@contextmanager
def audience() -> Iterator[Lines | Bar]:
    """A bar in a terminal, a line for each run elsewhere."""
    if not Console().is_terminal:
        yield Lines()
        return
    columns = (BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, TimeRemainingColumn(compact=True), refresh_per_second=4) as progress:
        yield Bar(progress, progress.add_task("", total=1.0))


class Lines:
    """A line for each run that ended."""

    def progress(self, name: str, seed: int, done: float) -> None:
        """Nothing between two runs."""

    def trial(self, trial: Trial) -> None:
        """A line."""
        print(trial_line(trial), flush=True)


class Bar:
    """A bar for all runs, and a line above it for each that ended."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.bar, self.task = progress, task

    def progress(self, name: str, seed: int, done: float) -> None:
        """Move the bar; it redraws itself a few times a second."""
        self.bar.update(self.task, completed=done, description=f"seed {seed}  {name}")

    def trial(self, trial: Trial) -> None:
        """A line above the bar."""
        self.bar.console.print(trial_line(trial), markup=False, highlight=False)
