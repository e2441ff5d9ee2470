"""The courses that cells are trained on: a synthetic task, or the next character of a text.

A course has a ``title`` and a ``unit`` of its losses, lower being better. ``baseline`` is the loss
of the best answer without looking at the input, on the validation sequences; ``expected`` the same
over all sequences, if that differs; ``nothing`` names that answer. Below the loss ``solved`` the
task counts as solved; None if there is no such loss.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from grus.comparison.contestants import ALONE, Contestant, Stack
from grus.equations import Cell
from grus.equations.text import counted
from grus.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from grus.models import Architecture, Settings, Source, Task, Text, Trainable

MOST_HELD_OUT = 100_000
FLOW_ROWS, FLOW_LAGS = 16, 100


@dataclass
class TaskCourse:
    """The adding problem or the copy task. Solved below a tenth of what knowing nothing gives."""

    task: Task
    settings: Settings
    stack: Stack = ALONE
    SOLVED_SHARE: ClassVar[float] = 0.1
    input_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        from grus.models import held_out

        task = self.task
        self.title, self.unit, self.nothing = (
            f"{task.name}, lag {task.lag}{_depth(self.stack)}",
            task.unit,
            task.nothing,
        )
        self.validation = held_out(task)
        self.baseline = task.baseline(self.validation[1])
        self.expected: float | None = task.expected
        self.solved: float | None = self.SOLVED_SHARE * self.baseline
        self.inputs, self.length = task.inputs, task.length

    def parameters(self, cell: Cell, hidden: int) -> int:
        """The layers' and the linear map's."""
        from grus.models import TaskModel

        return _count(TaskModel(self.task, cell, hidden, device="meta", **asdict(self.stack)))

    def start(self, contestant: Contestant, seed: int, folder: Path) -> Trainable:
        """A run in memory; ``folder`` is not used."""
        from grus.models import TaskRun

        settings = replace(self.settings, seed=seed, gate_bias=dict(contestant.gate_bias))
        sized = (contestant.cell, contestant.hidden)
        return TaskRun(self.task, *sized, settings, self.validation, **asdict(self.stack))

    def loss(self, metrics: Any) -> float:
        """As the task measures it."""
        return float(metrics.validation_loss)

    def validate(self, run: Any) -> float:
        """As a report measures it."""
        return float(run.validate())

    def layer(self, run: Any) -> tuple[Module, Tensor]:
        """The layers, and what they read in the first sequences that validate."""
        return run.model.layer, self.validation[0][:, :FLOW_ROWS]


@dataclass
class TextCourse:
    """The next character of a text, by `grus train`'s model and loop, without dropout.

    The last tenth is held out, at most 100,000 characters. ``baseline`` is the loss of predicting
    each symbol with its frequency in the training part (each counted once more than seen).
    """

    source: Source
    text: Text
    settings: Settings
    embedding: int = 64
    stack: Stack = ALONE
    unit: ClassVar[str] = "bits per character"
    nothing: ClassVar[str] = "character frequencies"
    solved: ClassVar[float | None] = None
    expected: ClassVar[float | None] = None
    input_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        count = len(self.text.ids)
        share = min(self.settings.holdout, MOST_HELD_OUT / count)
        self.settings = replace(self.settings, holdout=share)
        self.title = f"the next character of {self.source.name}, {counted(count, 'character')}"
        self.title += _depth(self.stack)
        self.inputs, self.length = self.embedding, self.settings.seq_len
        self.baseline = self._frequencies(int(count * share))

    def _frequencies(self, tail: int) -> float:
        if not tail:
            raise InputError(f"{self.source.name} is too short to hold a tail out")
        seen, held = self.text.ids[:-tail], self.text.ids[-tail:]
        counts = np.bincount(seen, minlength=len(self.text.vocabulary)) + 1.0
        return float(-np.log2(counts / counts.sum())[held].mean())

    def parameters(self, cell: Cell, hidden: int) -> int:
        """The embedding's, the layers' and the linear map's."""
        from grus.models import LanguageModel

        return _count(LanguageModel(self._architecture(cell, hidden), device="meta"))

    def _architecture(self, cell: Cell, hidden: int) -> Architecture:
        from grus.models import Architecture

        sizes = {"embedding": self.embedding, **asdict(self.stack)}
        return Architecture(cell, self.text.vocabulary, hidden, **sizes)

    def start(self, contestant: Contestant, seed: int, folder: Path) -> Trainable:
        """A run of `grus train` in ``folder``."""
        from grus.models import run

        settings = replace(self.settings, seed=seed, gate_bias=dict(contestant.gate_bias))
        architecture = self._architecture(contestant.cell, contestant.hidden)
        return run.start(folder, self.source, self.text, architecture, settings)

    def loss(self, metrics: Any) -> float:
        """Nats to bits."""
        return float(metrics.validation_loss) / math.log(2)

    def validate(self, run: Any) -> float:
        """As a report measures it."""
        from grus.models import bits, mean_loss

        return bits(mean_loss(run.model, *run.held_out))

    def layer(self, run: Any) -> tuple[Module, Tensor]:
        """The first layer, and what it reads in the first 101 characters that validate."""
        ids = run.held_out[0][: FLOW_LAGS + 1, :FLOW_ROWS]
        return run.model.layers[0], run.model.embedding(ids).detach()


Course = TaskCourse | TextCourse


def _depth(stack: Stack) -> str:
    """What a title says of the stack."""
    kind = f"{stack.connect or 'plain'} layer"
    return "" if stack == ALONE else f", {counted(stack.layers, kind)}"


def _count(model: Module) -> int:
    return sum(p.numel() for p in model.parameters())
