"""The adding problem and the copy task, which ask for a long memory; a model for them, its run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from grus.equations import Cell
from grus.layers import Recurrent
from grus.models.language import State
from grus.models.settings import Place, Settings, check
from grus.models.train import Trainable, check_finite, check_loss

MAX_LAG = 1_000_000
LETTERS, BLANK, DELIMITER, COPIED = 8, 8, 9, 10


@dataclass(frozen=True)
class Adding:
    """The adding problem: two numbers are marked, and their sum is asked for at the end.

    At each of ``lag`` steps the input is a number from U[0, 1] and a mark; one mark lies in the
    first half, one in the second, each anywhere in it (Hochreiter & Schmidhuber 1997 without their
    noise; Le, Jaitly & Hinton 2015, arXiv 1504.00941; the halves are Arjovsky et al.'s 2016). The
    loss is the mean squared error of the answer after the last step. Without looking at the input,
    the best answer is 1; its loss is the variance of the sum of two such numbers, 1/6 = 0.167.
    """

    lag: int
    name: ClassVar[str] = "adding"
    unit: ClassVar[str] = "mean squared error"
    nothing: ClassVar[str] = "always 1"
    expected: ClassVar[float | None] = 1 / 6
    inputs: ClassVar[int] = 2
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check(2 <= self.lag <= MAX_LAG, f"--lag must lie in 2..{MAX_LAG}, got {self.lag}")

    @property
    def length(self) -> int:
        """Time steps of a sequence."""
        return self.lag

    def draw(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs [time, rows, 2] and the sums asked for [rows], float32."""
        half, every = self.lag // 2, torch.arange(rows)
        numbers = torch.rand(self.lag, rows, generator=generator)
        first = torch.randint(half, (rows,), generator=generator)
        second = torch.randint(half, self.lag, (rows,), generator=generator)
        marks = torch.zeros(self.lag, rows)
        marks[first, every] = marks[second, every] = 1.0
        return torch.stack([numbers, marks], -1), numbers[first, every] + numbers[second, every]

    def loss(self, linear: nn.Module, y: Tensor, target: Tensor) -> Tensor:
        """The mean squared error of what ``linear`` makes of the last output."""
        return functional.mse_loss(linear(y[-1])[:, 0], target)

    def baseline(self, target: Tensor) -> float:
        """The loss of the best answer that does not look, on these sequences."""
        return float((target.double() - 1).square().mean())

    def guess(self, target: Tensor) -> float:
        """The loss of an untrained network, which answers 0: about 7/6."""
        return float(target.double().square().mean())


@dataclass(frozen=True)
class Copying:
    """The copy task: ten letters are shown, and asked for after ``lag`` steps.

    Ten letters out of eight, ``lag`` - 1 blanks, a delimiter, ten blanks; the answer is a blank at
    each of the first ``lag`` + 10 steps, then the ten letters (Hochreiter & Schmidhuber 1997; in
    the form of Arjovsky, Shah & Bengio 2016, arXiv 1511.06464). The loss is the mean cross-entropy
    of all ``lag`` + 20 steps in nats. Without memory, the best is to answer blanks and then guess:
    10 ln 8 / (lag + 20).
    """

    lag: int
    name: ClassVar[str] = "copy"
    unit: ClassVar[str] = "nats per step"
    nothing: ClassVar[str] = "blanks, then guesses"
    expected: ClassVar[float | None] = None
    inputs: ClassVar[int] = DELIMITER + 1
    outputs: ClassVar[int] = BLANK + 1

    def __post_init__(self) -> None:
        check(1 <= self.lag <= MAX_LAG, f"--lag must lie in 1..{MAX_LAG}, got {self.lag}")

    @property
    def length(self) -> int:
        """Time steps of a sequence."""
        return self.lag + 2 * COPIED

    def draw(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs [time, rows, 10], one-hot float32, and the answers [time, rows], int64."""
        letters = torch.randint(LETTERS, (COPIED, rows), generator=generator)
        shown = torch.full((self.length, rows), BLANK)
        shown[:COPIED] = letters
        shown[COPIED + self.lag - 1] = DELIMITER
        asked = torch.full((self.length, rows), BLANK)
        asked[-COPIED:] = letters
        return functional.one_hot(shown, self.inputs).float(), asked

    def loss(self, linear: nn.Module, y: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy of what ``linear`` makes of every output."""
        return functional.cross_entropy(linear(y).flatten(0, 1), target.flatten())

    def baseline(self, target: Tensor) -> float:
        """The loss of blanks and then guesses."""
        return COPIED * math.log(LETTERS) / len(target)

    def guess(self, target: Tensor) -> float:
        """The loss of an untrained network, which gives all answers the same chance: ln 9."""
        return math.log(self.outputs)


Task = Adding | Copying
TASKS: dict[str, type[Task]] = {kind.name: kind for kind in (Adding, Copying)}


class TaskModel(nn.Module):
    """Recurrent layers of any cell, joined by ``connect``, and a linear map, which answers a
    task."""

    def __init__(
        self,
        task: Task,
        cell: Cell,
        hidden: int,
        gate_bias: Mapping[str, float] | None = None,
        device: Any = None,
        layers: int = 1,
        connect: str = "",
    ) -> None:
        super().__init__()
        self.task = task
        options: dict[str, Any] = {"gate_bias": gate_bias, "device": device, "connect": connect}
        self.layer = Recurrent(cell, task.inputs, hidden, layers, **options)
        self.linear = nn.Linear(hidden, task.outputs, device=device)

    def loss(
        self,
        x: Tensor,
        y: Tensor,
        state: State | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, State]:
        """The task's mean loss on ``x`` [time, batch, inputs]; every sequence begins from zero."""
        return self.task.loss(self.linear, self.layer(x)[0], y), []

    @torch.no_grad()
    def mean_loss(self, x: Tensor, y: Tensor, rows: int) -> float:
        """The mean loss over all sequences, ``rows`` of them at a time."""
        total = 0.0
        pairs = zip(torch.split(x, rows, 1), torch.split(y, rows, -1), strict=True)
        for some_x, some_y in pairs:
            total += float(self.loss(some_x, some_y)[0]) * some_x.shape[1]
        return total / x.shape[1]


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


class TaskRun(Trainable):
    """A run on a task, in memory.

    Of ``settings`` the budget, ``batch``, ``optimizer``, ``lr``, ``clip``, ``gate_bias``, ``seed``,
    ``threads`` and ``report_every`` count; there are no epochs. ``layers`` recurrent layers are
    joined by ``connect`` (`grus.Recurrent`). The seed decides the weights and,
    apart from them, the sequences: runs of different cells see the same ones.
    """

    def __init__(
        self,
        task: Task,
        cell: Cell,
        hidden: int,
        settings: Settings,
        validation: tuple[Tensor, Tensor],
        layers: int = 1,
        connect: str = "",
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model: TaskModel = TaskModel(
                task, cell, hidden, settings.gate_bias, layers=layers, connect=connect
            )
        super().__init__(list(self.model.parameters()), settings, Place())
        self.task, self.validation = task, validation

    def chunk(self) -> tuple[Tensor, Tensor]:
        """Fresh sequences and their answers."""
        return self.task.draw(self.settings.batch, self.generator)

    @property
    def work(self) -> tuple[float, str]:
        """Sequences of a step."""
        return self.settings.batch, "sequences"

    @property
    def report_every(self) -> int:
        """Steps from report to report."""
        return self.settings.report_every or MIN_STEPS_BETWEEN_REPORTS

    def report(self) -> TaskMetrics:
        """Measure. Raises DivergedError as `save` does, and when the validation loss exploded."""
        self.save()
        now, loss = self.progress, self.validate()
        self._check_loss("validation", loss)
        metrics = TaskMetrics(
            step=now.step,
            seconds=now.seconds,
            train_loss=self.train_loss,
            validation_loss=loss,
        )
        self.forget_losses()
        return metrics

    def validate(self) -> float:
        """The mean loss on the held-out sequences, in portions of bounded memory."""
        rows = max(self.settings.batch, min(AT_ONCE, MAX_STEPS // self.task.length))
        return self.model.mean_loss(*self.validation, rows)

    def save(self) -> None:
        """Nothing is kept; the checks of `Trainable.save` are made."""
        now = self.progress
        check_finite([self.loss_sum, *self.parameters], now.step)
        if now.loss_steps:
            self._check_loss("training", self.train_loss)

    def _check_loss(self, which: str, loss: float) -> None:
        guess = self.task.guess(self.validation[1])
        check_loss(which, loss, guess, self.task.unit, self.progress.step)
