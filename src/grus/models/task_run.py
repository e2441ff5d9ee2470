"""A training run on a task: what `train.train` takes the steps of. It lives in memory alone."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from grus.equations import Cell
from grus.models.language import State
from grus.models.run import check_finite, check_loss, make_optimizer
from grus.models.settings import Progress, Settings
from grus.models.tasks import Task, TaskModel

VALIDATION_ROWS = 1000
VALIDATION_SEED = 2**40  # beyond the seeds that people give, so that no run trains on these rows
MIN_STEPS_BETWEEN_REPORTS = 50
AT_ONCE, MAX_STEPS = 250, 2**18  # rows, and time steps of all of them


@dataclass(frozen=True)
class TaskMetrics:
    """One report: the mean loss in training since the last one, and on the held-out sequences."""

    step: int
    seconds: float
    train_loss: float
    validation_loss: float


def held_out(task: Task, rows: int = VALIDATION_ROWS) -> tuple[Tensor, Tensor]:
    """The sequences that every run on the task is validated on: the same for all seeds."""
    return task.draw(rows, torch.Generator().manual_seed(VALIDATION_SEED))


class TaskRun:
    """The state of a run between two steps.

    Of ``settings`` the budget, ``batch``, ``optimizer``, ``lr``, ``clip``, ``gate_bias``, ``seed``,
    ``threads`` and ``report_every`` count; there are no epochs. The seed decides the weights and,
    apart from them, the sequences: runs of different cells see the same ones.
    """

    def __init__(
        self,
        task: Task,
        cell: Cell,
        hidden: int,
        settings: Settings,
        validation: tuple[Tensor, Tensor],
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = TaskModel(task, cell, hidden, settings.gate_bias)
        self.task, self.settings, self.validation = task, settings, validation
        self.parameters = list(self.model.parameters())
        self.optimizer = make_optimizer(self.parameters, settings)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.progress = Progress()
        self.state: State | None = None
        self.loss_sum = torch.zeros((), dtype=torch.float64)

    def chunk(self) -> tuple[Tensor, Tensor]:
        """Fresh sequences and their answers."""
        return self.task.draw(self.settings.batch, self.generator)

    def advance(self, loss: Tensor, state: State, seconds: float) -> None:
        """Note that a step was taken."""
        self.loss_sum += loss
        self.progress.loss_steps += 1
        self.progress.step += 1
        self.progress.seconds += seconds

    @property
    def report_every(self) -> int:
        """Steps from report to report."""
        return self.settings.report_every or MIN_STEPS_BETWEEN_REPORTS

    @property
    def done(self) -> float:
        """The share of the budget that is spent; the run is finished at 1."""
        if self.settings.steps is not None:
            return self.progress.step / self.settings.steps
        return self.progress.seconds / (self.settings.seconds or math.inf)

    def report(self) -> TaskMetrics:
        """Measure. Raises DivergedError as `save` does, and when the validation loss exploded."""
        self.save()
        now, loss = self.progress, self.validate()
        self._check_loss("validation", loss)
        metrics = TaskMetrics(
            step=now.step,
            seconds=now.seconds,
            train_loss=float(self.loss_sum) / now.loss_steps,
            validation_loss=loss,
        )
        now.loss_steps = 0
        self.loss_sum.zero_()
        return metrics

    def validate(self) -> float:
        """The mean loss on the held-out sequences, as many at once as memory likes."""
        rows = max(self.settings.batch, min(AT_ONCE, MAX_STEPS // self.task.length))
        return self.model.mean_loss(*self.validation, rows)

    def writing(self) -> AbstractContextManager[None]:
        """Nothing is written, so nothing is locked."""
        return nullcontext()

    def save(self) -> None:
        """Nothing is kept; the checks that go with it are made.

        Raises DivergedError when the weights are no longer finite, or the mean loss since the last
        report is more than ten times a guess's.
        """
        now = self.progress
        check_finite([self.loss_sum, *self.parameters], now.step)
        if now.loss_steps:
            self._check_loss("training", float(self.loss_sum) / now.loss_steps)

    def _check_loss(self, which: str, loss: float) -> None:
        guess = self.task.guess(self.validation[1])
        check_loss(which, loss, guess, self.task.unit, self.progress.step)
