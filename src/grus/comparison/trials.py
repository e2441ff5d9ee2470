"""A comparison announced, and every cell trained with every seed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from grus.comparison.contestants import Contestant, match_params, match_time
from grus.comparison.courses import Course
from grus.equations.text import counted
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.models import Trainable


MATCHED = {
    "params": "sizes chosen for equal numbers of parameters",
    "hidden": "the same size for all",
    "time": "sizes chosen for equally long steps, as measured here and now",
}


def announcement(
    course: Course, contestants: Sequence[Contestant], seeds: int, match: str
) -> list[str]:
    """The lines that announce a comparison."""
    settings = course.settings
    runs = len(contestants) * seeds
    budget = counted(settings.steps, "step") if settings.steps else f"{settings.seconds:g} s"
    lines = [
        f"{course.title}; loss: {course.unit}",
        _nothing(course),
        f"{counted(runs, 'run')} ({counted(len(contestants), 'cell')}, {counted(seeds, 'seed')})"
        f" of {budget}, batch {settings.batch},"
        f" {settings.optimizer} {settings.lr:g}, clip {settings.clip:g},"
        f" {counted(settings.threads, 'thread')}",
        f"{MATCHED[match]}:",
    ]
    return lines + [f"  {_introduced(contestant, contestants)}" for contestant in contestants]


def _nothing(course: Course) -> str:
    known = "" if course.expected is None else f" (expected {course.expected:.4g})"
    return f"knowing nothing ({course.nothing}): {course.baseline:.4g}{known}"


def _introduced(contestant: Contestant, contestants: Sequence[Contestant]) -> str:
    most = max(each.parameters for each in contestants)
    share = f" ({contestant.parameters / most - 1:+.1%})" if contestant.parameters != most else ""
    biases = ", ".join(f"{gate} {value:.3g}" for gate, value in contestant.gate_bias.items())
    begins = f", gate bias {biases}" if biases else ""
    size = f"{contestant.hidden} hidden, {counted(contestant.parameters, 'parameter')}"
    return f"{contestant.name}: {size}{share}{begins}"


def expected_seconds(course: Course, contestants: Sequence[Contestant], seeds: int) -> float:
    """The expected time, from a few steps and one validation of each cell, on spare models."""
    settings = course.settings
    if settings.seconds:
        return settings.seconds * len(contestants) * seeds
    if not settings.steps or not settings.report_every:
        raise InputError("a budget in steps needs steps, and reports every so many of them")
    total = 0.0
    for contestant in contestants:
        total += settings.steps * step_seconds(course, contestant)
        with TemporaryDirectory() as folder:
            spare = course.start(contestant, 0, Path(folder))
            course.validate(spare)  # compiles
            began = time.perf_counter()
            course.validate(spare)
            total += (time.perf_counter() - began) * settings.steps / settings.report_every
    return total * seeds


def spoken(taken: float) -> str:
    """``4 min 10 s``, ``12 s``."""
    minutes, rest = divmod(max(1, round(taken)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


WARM_UP, MEASURED = 2, 7


@dataclass(frozen=True)
class Trial:
    """One cell trained with one seed.

    ``losses`` are validation losses at ``steps``, in the course's unit; ``best`` is the lowest,
    infinity where the run diverged before the first. ``step_seconds`` is the median time of a
    training step, validation apart, None where the first diverged. ``diverged`` says at which step
    it did, "" for a sound run.

    ``flow`` is the gradient flow of the trained layer on sequences that validate, ``flow_before``
    of the layer before training: the norm of d(output at the last step)/d(state k steps before) for
    k = 0, 1, ... (`traces.flow`); none of a run that diverged.
    """

    name: str
    seed: int
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    best: float
    step_seconds: float | None
    seconds: float
    diverged: str = ""
    flow_before: tuple[float, ...] = ()
    flow: tuple[float, ...] = ()


@dataclass
class Outcome:
    """All trials so far; ``finished`` is False if they were stopped."""

    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    trials: list[Trial] = field(default_factory=list)
    finished: bool = False

    def of(self, name: str) -> list[Trial]:
        """The trials of one cell, by seed."""
        return [trial for trial in self.trials if trial.name == name]

    def best(self) -> dict[str, list[float]]:
        """The best validation losses of each cell that has a trial."""
        return {
            c.name: [t.best for t in self.of(c.name)] for c in self.contestants if self.of(c.name)
        }


class Audience(Protocol):
    """The display of a comparison in progress."""

    def progress(self, name: str, seed: int, done: float) -> None:
        """Show the current run, and the share of all runs that is done."""

    def trial(self, trial: Trial) -> None:
        """A run ended."""


class _Record:
    """A watch that keeps the steps, losses and times of a trial."""

    def __init__(self, course: Course, shown: Callable[[float], None]) -> None:
        self.course, self.shown = course, shown
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.times: list[float] = []
        self.at = time.perf_counter()

    def step(self, run: Trainable) -> None:
        """Note how long it took, with a report where there was one."""
        now = time.perf_counter()
        self.times.append(now - self.at)
        self.at = now
        self.shown(min(1.0, run.done))

    def report(self, run: Trainable, metrics: Any) -> None:
        """Keep the validation loss."""
        self.steps.append(run.progress.step)
        self.losses.append(self.course.loss(metrics))


def sized(course: Course, contestants: Sequence[Contestant], match: str) -> tuple[Contestant, ...]:
    """The contestants with their sizes and parameters. ``match`` "time" measures."""
    if match == "params":
        contestants = match_params(contestants, course.parameters)
    elif match == "time":
        contestants = match_time(contestants, lambda contestant: step_seconds(course, contestant))
    return tuple(replace(c, parameters=course.parameters(c.cell, c.hidden)) for c in contestants)


def step_seconds(course: Course, contestant: Contestant) -> float:
    """The median time of a few training steps, measured here and now on a model of its own."""
    from grus.models import learn, threads

    times = []
    with TemporaryDirectory() as folder, threads(course.settings.threads):
        run = course.start(contestant, 0, Path(folder))
        x, y = run.chunk()
        for _ in range(WARM_UP + MEASURED):
            began = time.perf_counter()
            learn(run.model, run.optimizer, x, y, None, run.settings.clip, run.generator)
            times.append(time.perf_counter() - began)
    return statistics.median(times[WARM_UP:])


def compare(
    course: Course,
    contestants: Sequence[Contestant],
    seeds: Sequence[int],
    audience: Audience,
    stop: Callable[[], bool],
) -> Outcome:
    """Train each contestant with each seed: all of them with one seed, then with the next.

    A run that ``stop()`` breaks off is left out of the outcome, since it did not have its budget.
    A run that diverged keeps what it reached before.
    """
    outcome = Outcome(tuple(contestants), tuple(seeds))
    pairs = [(contestant, seed) for seed in seeds for contestant in contestants]
    for done, (contestant, seed) in enumerate(pairs):

        def shown(share: float, done: int = done) -> None:
            running, its_seed = pairs[done]
            audience.progress(running.name, its_seed, (done + share) / len(pairs))

        trial = _trial(course, contestant, seed, shown, stop)
        if trial is None:
            return outcome
        outcome.trials.append(trial)
        audience.trial(trial)
    outcome.finished = True
    return outcome


def _trial(
    course: Course,
    contestant: Contestant,
    seed: int,
    shown: Callable[[float], None],
    stop: Callable[[], bool],
) -> Trial | None:
    """One run to the end of its budget; None where it was stopped before."""
    from grus.models import DivergedError, train

    diverged, began = "", time.perf_counter()
    with TemporaryDirectory() as folder:
        run = course.start(contestant, seed, Path(folder))
        before = _flow(course, run)
        record = _Record(course, shown)
        try:
            train.train(run, record, stop)
        except DivergedError as error:
            diverged = error.how
        if run.done < 1 and not diverged:
            return None
        after = () if diverged else _flow(course, run)
    return Trial(
        name=contestant.name,
        seed=seed,
        steps=tuple(record.steps),
        losses=tuple(record.losses),
        best=min(record.losses, default=math.inf),
        step_seconds=statistics.median(record.times) if record.times else None,
        seconds=time.perf_counter() - began,
        diverged=diverged,
        flow_before=before,
        flow=after,
    )


def _flow(course: Course, run: Trainable) -> tuple[float, ...]:
    from grus.traces import gradient_flow

    layer, x = course.layer(run)
    flow = gradient_flow(layer, lags=len(x) - 1, x=x.numpy())
    return tuple(map(float, flow.norms))
