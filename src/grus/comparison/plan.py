"""What a comparison will do, said before it does it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from grus.comparison.contestants import Contestant
from grus.comparison.run import step_seconds
from grus.comparison.tasks import Course
from grus.equations.text import counted
from grus.errors import InputError

MATCHED = {
    "params": "sizes chosen for equal numbers of parameters",
    "hidden": "the same size for all",
    "time": "sizes chosen for equally long steps, as measured here and now",
}


def lines(course: Course, found: Sequence[Contestant], seeds: int, match: str) -> list[str]:
    """What will be compared, before it is."""
    settings = course.settings
    runs = len(found) * seeds
    budget = counted(settings.steps, "step") if settings.steps else f"{settings.seconds:g} s"
    said = [
        f"{course.title}; loss: {course.unit}",
        _nothing(course),
        f"{counted(runs, 'run')} ({counted(len(found), 'cell')}, {counted(seeds, 'seed')})"
        f" of {budget}, batch {settings.batch},"
        f" {settings.optimizer} {settings.lr:g}, clip {settings.clip:g},"
        f" {counted(settings.threads, 'thread')}",
        f"{MATCHED[match]}:",
    ]
    return said + [f"  {_introduced(one, found)}" for one in found]


def _nothing(course: Course) -> str:
    known = "" if course.expected is None else f" (expected {course.expected:.4g})"
    return f"knowing nothing ({course.nothing}): {course.baseline:.4g}{known}"


def _introduced(one: Contestant, found: Sequence[Contestant]) -> str:
    most = max(each.parameters for each in found)
    share = f" ({one.parameters / most - 1:+.1%})" if one.parameters != most else ""
    biases = ", ".join(f"{gate} {value:.3g}" for gate, value in one.gate_bias.items())
    begins = f", gate bias {biases}" if biases else ""
    return f"{one.name}: {one.hidden} hidden, {counted(one.parameters, 'parameter')}{share}{begins}"


def seconds(course: Course, found: Sequence[Contestant], seeds: int) -> float:
    """How long it will take, from a few steps and one validation of each cell, on spare models."""
    settings = course.settings
    if settings.seconds:
        return settings.seconds * len(found) * seeds
    if not settings.steps or not settings.report_every:
        raise InputError("a budget in steps needs steps, and reports every so many of them")
    total = 0.0
    for one in found:
        total += settings.steps * step_seconds(course, one)
        with TemporaryDirectory() as folder:
            spare = course.start(one, 0, Path(folder))
            course.validate(spare)  # compiles
            began = time.perf_counter()
            course.validate(spare)
            total += (time.perf_counter() - began) * settings.steps / settings.report_every
    return total * seeds


def spoken(taken: float) -> str:
    """``4 min 10 s``, ``12 s``."""
    minutes, rest = divmod(max(1, round(taken)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
