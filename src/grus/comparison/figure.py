"""A comparison as a figure: the learning curves of its cells."""

from __future__ import annotations

from pathlib import Path

from grus.comparison.run import Outcome
from grus.comparison.tasks import Course
from grus.errors import InputError
from grus.pictures import style
from grus.pictures.curves import learning_curves


def check(path: Path) -> None:
    """Raise InputError for a file that no figure can be written to, and without matplotlib."""
    style.check_path(path, style.FORMATS)
    style.new_figure(1, 1)


def draw(course: Course, outcome: Outcome, path: Path) -> None:
    """Write the learning curves of all cells to ``path``, an .svg or .png file.

    A run that diverged before its first validation has no curve. Raises InputError where no run
    has one.
    """
    curves = {
        one.name: [(t.steps, t.losses) for t in outcome.of(one.name) if t.steps]
        for one in outcome.contestants
    }
    curves = {name: seeds for name, seeds in curves.items() if seeds}
    if not curves:
        raise InputError("every run diverged before its first validation: there is nothing to draw")
    ax = learning_curves(
        curves,
        x="training step",
        y=f"validation loss, {course.unit}",
        log=course.solved is not None,
        title=course.title,
    )
    ax.axhline(course.baseline, color=style.GREY, linestyle=":", label="knowing nothing")
    style.legend(ax, "median, lowest to highest")
    style.save(ax, path)
