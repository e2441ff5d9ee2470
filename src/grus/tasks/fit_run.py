"""A fit in progress: everything that a step changes.

A step is a function of the weights, the optimiser's moments, the carried state, and of the seed and
the step's number: nothing else is drawn from, so a run that is resumed gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grus.models.evaluation import evaluating
from grus.models.kept_run import LAST, KeptRun
from grus.models.language import State
from grus.models.optimizers import moments, restore_moments
from grus.models.settings import check
from grus.models.train import learn
from grus.tasks import fit_checkpoint
from grus.tasks.fit_checkpoint import Architecture, FitCheckpoint, FitProgress, FitSource
from grus.tasks.task import FitSettings, Metrics, Splits

STALE_BEFORE_CUT = 3
DECAY, DECAY_FROM = 0.9, 3


@dataclass(frozen=True)
class Data:
    """What was read: the parts, the encoding, and where it is from."""

    source: FitSource
    sha256: str
    parts: Splits[Any]
    encoding: Any


@dataclass(frozen=True)
class FitReport:
    """One report; a line of ``metrics.jsonl``. ``validation`` are the task's numbers on what is
    held out, none where nothing is; ``seconds`` is the run's time so far."""

    step: int
    epoch: int
    seconds: float
    examples_per_second: float
    lr: float
    train_loss: float
    validation: Metrics

    def record(self) -> dict[str, Any]:
        """The line."""
        named = {f"validation_{name}": value for name, value in self.validation.items()}
        return {**{k: v for k, v in vars(self).items() if k != "validation"}, **named}

    def line(self) -> str:
        """The report in one line."""
        held = "".join(f"  {spelled(name)} {value:.4g}" for name, value in self.validation.items())
        return (
            f"step {self.step}  epoch {self.epoch}  training loss {self.train_loss:.4g}"
            f"{'; validation:' if held else ''}{held}"
        )


def spelled(name: str) -> str:
    """A number's name in words."""
    return name.replace("_", " ")


class FitRun(KeptRun):
    """A run of a task on data, in a folder."""

    settings: FitSettings
    progress: FitProgress
    model: Any  # a module with what `task.Network` says

    def __init__(
        self,
        folder: Path,
        data: Data,
        architecture: Architecture,
        settings: FitSettings,
        network: Any,
    ) -> None:
        self.model = network.train()
        super().__init__(folder, dict(network.named_parameters()), settings, FitProgress())
        self.data = data
        self.architecture, self.task = architecture, architecture.task
        self._reported_at = 0.0
        self._load_epoch()

    def _load_epoch(self) -> None:
        order = torch.Generator().manual_seed(mixed(self.settings.seed, self.progress.epoch))
        self._batches = self.task.batches(
            self.architecture.encoding, self.data.parts.train, self.settings.batch, order
        )
        check(len(self._batches) > 0, f"there are no {self.task.examples} to train on")

    @property
    def chunks(self) -> int:
        """Batches of the epoch."""
        return len(self._batches)

    @property
    def work(self) -> tuple[float, str]:
        """Examples of a step, and what they are."""
        return len(self.data.parts.train) / self.chunks, self.task.examples

    def chunk(self) -> tuple[Any, Any]:
        """Inputs and targets of the next batch."""
        x, y = self._batches[self.progress.chunk]
        return x, y

    def take(self, x: Any, y: Any) -> tuple[Tensor, State]:
        """One step, with torch's generator seeded for it and left as it was."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed(self.settings.seed, -1 - self.progress.step))
            noise = noisy(self.parameters, self.settings.weight_noise)
            clip = self.settings.clip
            return learn(self.model, self.optimizer, x, y, self.state, clip, None, noise)

    def rate(self) -> float:
        """The learning rate of the next step."""
        settings, now = self.settings, self.progress
        match settings.schedule:
            case "cosine":
                return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, self.spent)))
            case "decay":
                return settings.lr * DECAY ** max(0, now.epoch - DECAY_FROM)
            case "plateau":
                return settings.lr * 0.5**now.cuts
        return settings.lr

    def advance(self, loss: Tensor, state: State, seconds: float) -> None:
        """Note that a step was taken; at the end of an epoch the next one begins."""
        super().advance(loss, state, seconds)
        now = self.progress
        now.chunk += 1
        self.state = state or None
        if now.chunk == self.chunks:
            now.epoch, now.chunk = now.epoch + 1, 0
            self.state = None
            self._load_epoch()

    @property
    def report_every(self) -> int:
        """Steps from report to report."""
        return self.settings.report_every or self.chunks

    @property
    def done(self) -> float:
        """The share of the budget that is spent; 1 where the run is stale."""
        patience = self.settings.patience
        return 1.0 if patience and self.progress.stale >= patience else self.spent

    @property
    def guess(self) -> tuple[float, str]:
        """Of a network that knows nothing."""
        return self.task.guess(self.architecture.encoding), self.task.unit

    def report(self) -> FitReport:
        """Measure, add a line to the metrics, keep the best model, save."""
        self.check_sound()
        now, held = self.progress, self.data.parts.validation
        validation = self.measure(held) if len(held) else {}
        self.check_sound(validation.get("loss"))
        examples = now.loss_steps * self.work[0]
        report = FitReport(
            step=now.step,
            epoch=now.epoch,
            seconds=now.seconds,
            examples_per_second=examples / max(now.seconds - self._reported_at, 1e-9),
            lr=self.rate(),
            train_loss=self.train_loss,
            validation=validation,
        )
        better = self._judge(validation.get("loss"))
        self._reported_at = now.seconds
        self.keep(report.record(), better)
        return report

    def _judge(self, loss: float | None) -> bool:
        now = self.progress
        if loss is None:
            return False
        better = now.best_loss is None or loss < now.best_loss
        now.stale = 0 if better else now.stale + 1
        if better:
            now.best_loss = loss
        elif self.settings.schedule == "plateau" and now.stale % STALE_BEFORE_CUT == 0:
            now.cuts += 1
        return better

    def measure(self, examples: Any) -> Metrics:
        """The task's numbers on examples."""
        with torch.no_grad(), evaluating(self.model):
            return self.task.measure(self.model, self.architecture.encoding, examples)

    # The file.

    def saved_step(self) -> int:
        """The step of ``last.safetensors``."""
        return fit_checkpoint.step(self.folder / LAST)

    def content(self) -> bytes:
        """The run as it stands, as a checkpoint's bytes."""
        self.progress.loss_sum = float(self.loss_sum)
        tensors: dict[str, Tensor] = {n: w.detach() for n, w in self.weights.items()}
        tensors |= moments(self.settings.optimizer, self.optimizer, self.weights)
        tensors |= {f"state.{k}": t for k, t in enumerate(flat(self.state or []))}
        return FitCheckpoint(
            self.architecture,
            self.data.source,
            self.data.sha256,
            self.settings,
            self.progress,
            tensors,
        ).content()

    def restore(self, saved: FitCheckpoint) -> None:
        """Take over a checkpoint's progress, state and moments; the model has its weights."""
        self.progress = replace(saved.progress)
        self.loss_sum.fill_(self.progress.loss_sum)
        self._reported_at = self.progress.seconds
        self._load_epoch()
        fits = self.progress.chunk < self.chunks
        check(fits, f"{self.folder / LAST}: its place is beyond the end of the data")
        if self.progress.chunk:
            held = [t.clone() for n, t in state_tensors(saved)]
            self.state = self.model.state(held) if held else None
        name, step = self.settings.optimizer, self.progress.step
        restore_moments(name, self.optimizer, self.weights, saved.tensors, step)


def mixed(seed: int, number: int) -> int:
    """A seed of its own for each pair: the finaliser of SplitMix64 (Steele et al. 2014)."""
    bits = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ bits >> shift) * factor % 2**64
    return (bits ^ bits >> 31) >> 1


def flat(state: State) -> list[Tensor]:
    """All tensors of the layers' states, in order."""
    return [t for s in state for t in ((s,) if isinstance(s, Tensor) else s)]


def state_tensors(saved: FitCheckpoint) -> list[tuple[str, Tensor]]:
    """The carried states of a file, in order."""
    names = [n for n in saved.tensors if n.startswith("state.")]
    return [(n, saved.tensors[n]) for n in sorted(names, key=lambda n: int(n.split(".")[1]))]


@contextmanager
def noisy(parameters: list[torch.nn.Parameter], deviation: float) -> Iterator[None]:
    """Every weight with normal noise added; afterwards as before, to the bit."""
    if not deviation:
        yield
        return
    with torch.no_grad():
        before = [p.clone() for p in parameters]
        for p in parameters:
            p.add_(torch.randn_like(p), alpha=deviation)
    try:
        yield
    finally:
        with torch.no_grad():
            for p, b in zip(parameters, before, strict=True):
                p.copy_(b)
