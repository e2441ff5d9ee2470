"""A training run: everything that a step changes, started anew or restored from a checkpoint.

A run lives in a folder: ``last.safetensors`` is where it stands, ``best.safetensors`` the model
that was best on the held-out tail, ``metrics.jsonl`` one line per report.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grus.errors import InputError
from grus.models import batches, checkpoint, corpus, evaluation, run_files
from grus.models.checkpoint import Checkpoint
from grus.models.corpus import Architecture
from grus.models.kept_run import LAST, METRICS, KeptRun, check_free
from grus.models.language import LanguageModel, MakeLayer, State
from grus.models.optimizers import moments, restore_moments
from grus.models.settings import Progress, Settings, check
from grus.models.train import Unwatched, train

MIN_STEPS_BETWEEN_REPORTS = 100


@dataclass(frozen=True)
class Metrics:
    """One report; a line of ``metrics.jsonl``.

    Losses are mean nats per character, bits are nats / ln 2, perplexity is e to the nats; training
    figures are over the steps since the last report, ``validation_*`` are None without a held-out
    tail. ``characters_per_second`` counts everything since the last report, saving and validating
    too; ``seconds`` is the run's time so far.
    """

    step: int
    epoch: int
    seconds: float
    characters_per_second: float
    lr: float
    train_loss: float
    train_bits: float
    train_perplexity: float
    validation_loss: float | None
    validation_bits: float | None
    validation_perplexity: float | None

    def line(self) -> str:
        """The report in one line."""
        bits = self.validation_bits
        held = "" if bits is None else f"  validation {bits:.3f} bits"
        return (
            f"step {self.step}  epoch {self.epoch}  loss {self.train_loss:.3f}"
            f"  {self.train_bits:.3f} bits"
            f"  perplexity {evaluation.readable(self.train_perplexity)}{held}"
            f"  {self.characters_per_second:,.0f} characters/s"
        )


class Run(KeptRun):
    """A run on a text, in a folder."""

    model: LanguageModel
    settings: Settings
    progress: Progress

    def __init__(
        self,
        folder: Path,
        source: corpus.Source,
        read: corpus.Text,
        settings: Settings,
        model: LanguageModel,
    ) -> None:
        super().__init__(folder, model.named_weights(), settings, Progress())
        self.source, self.text = source, read
        training, tail = batches.split(torch.from_numpy(read.ids), settings.holdout)
        self.streams = batches.Streams(training, settings.batch, settings.seq_len)
        self.held_out = batches.validation(training, tail) if len(tail) else None
        self.model = model.train()
        self.progress.offset = self._draw_offset()
        self._load_epoch()
        self._reported_at = 0.0
        self.latest: Metrics | None = None

    # Where the run is in the text.

    def _draw_offset(self) -> int:
        return int(torch.randint(self.streams.offsets, (), generator=self.generator))

    def _load_epoch(self) -> None:
        self._inputs, self._targets = self.streams.epoch(self.progress.offset)

    def chunk(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next step, each [time, batch]."""
        return self._inputs[self.progress.chunk], self._targets[self.progress.chunk]

    def advance(self, loss: Tensor, state: State, seconds: float) -> None:
        """Note that a step was taken; at the end of an epoch the next one begins, from zero."""
        super().advance(loss, state, seconds)
        now = self.progress
        now.chunk += 1
        self.state = state
        if now.chunk == self.chunks:
            now.epoch, now.chunk, now.offset = now.epoch + 1, 0, self._draw_offset()
            self.state = None
            self._load_epoch()

    @property
    def report_every(self) -> int:
        """Steps from report to report."""
        once_an_epoch = max(MIN_STEPS_BETWEEN_REPORTS, self.streams.chunks(0))
        return self.settings.report_every or once_an_epoch

    @property
    def chunks(self) -> int:
        """Of the current epoch."""
        return len(self._inputs)

    @property
    def work(self) -> tuple[float, str]:
        """Characters of a step."""
        return self.settings.batch * self.settings.seq_len, "characters"

    @property
    def spoken_loss(self) -> str:
        """In nats and in bits."""
        return f"{super().spoken_loss}  {evaluation.bits(self.train_loss):.2f} bits"

    # Reporting and saving.

    def report(self) -> Metrics:
        """Measure, add a line to the metrics, keep the best model, save."""
        self.check_sound()
        now, loss = self.progress, self.train_loss
        held = evaluation.mean_loss(self.model, *self.held_out) if self.held_out else None
        self.check_sound(held)
        characters = now.loss_steps * self.work[0]
        metrics = Metrics(
            step=now.step,
            epoch=now.epoch,
            seconds=now.seconds,
            characters_per_second=characters / max(now.seconds - self._reported_at, 1e-9),
            lr=self.settings.lr,
            train_loss=loss,
            train_bits=evaluation.bits(loss),
            train_perplexity=math.exp(loss),
            validation_loss=held,
            validation_bits=None if held is None else evaluation.bits(held),
            validation_perplexity=None if held is None else math.exp(held),
        )
        bits = metrics.validation_bits
        better = bits is not None and (now.best_bits is None or bits < now.best_bits)
        if better:
            now.best_bits = bits
        self._reported_at = now.seconds
        self.keep(vars(metrics), better)
        self.latest = metrics
        return metrics

    @property
    def guess(self) -> tuple[float, str]:
        """All symbols alike: ln(symbols) nats."""
        return math.log(max(2, len(self.model.architecture.vocabulary))), "nats"

    def saved_step(self) -> int:
        """The step of ``last.safetensors``."""
        return checkpoint.step(self.folder / LAST)

    def content(self) -> bytes:
        """The run as it stands, as a checkpoint's bytes."""
        return self.snapshot().content()

    def snapshot(self) -> Checkpoint:
        """The run as it stands, as a checkpoint."""
        self.progress.loss_sum = float(self.loss_sum)
        tensors: dict[str, Tensor] = {n: w.detach() for n, w in self.weights.items()}
        tensors |= moments(self.settings.optimizer, self.optimizer, self.weights)
        tensors |= _by_name(self.model.architecture, self.state)
        tensors["random"] = self.generator.get_state()
        architecture = self.model.architecture
        return Checkpoint(
            architecture, self.source, self.text.sha256, self.settings, self.progress, tensors
        )

    def restore(self, saved: Checkpoint) -> None:
        """Take over a checkpoint's progress, state, and optimiser; the model has its weights."""
        self.progress = replace(saved.progress)
        self.loss_sum.fill_(self.progress.loss_sum)
        self._reported_at = self.progress.seconds
        fits = self.progress.offset < self.streams.offsets
        fits = fits and self.progress.chunk < self.streams.chunks(self.progress.offset)
        check(fits, f"{self.folder / LAST}: its place in the text is beyond the text")
        self._load_epoch()
        try:
            self.generator.set_state(saved.tensors["random"].clone())
        except RuntimeError:
            raise InputError(f"{self.folder / LAST}: not a random generator's state") from None
        if self.progress.chunk:
            self.state = _by_layer(self.model.architecture, saved.tensors)
        name, step = self.settings.optimizer, self.progress.step
        restore_moments(name, self.optimizer, self.weights, saved.tensors, step)


def start(
    folder: Path,
    source: corpus.Source,
    read: corpus.Text,
    architecture: Architecture,
    settings: Settings,
    make_layer: MakeLayer | None = None,
) -> Run:
    """A new run in ``folder``, saved once before its first step so that it can be resumed.

    Raises InputError when the folder holds a run already, or the text is too short.
    """
    check_free(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = LanguageModel(architecture, settings.dropout, settings.gate_bias, make_layer)
    run = Run(folder, source, read, settings, model)
    run.begin()
    return run


def resume(saved: Checkpoint, folder: Path, source: corpus.Source, settings: Settings) -> Run:
    """Go on from the checkpoint ``saved`` of the run in ``folder``.

    ``source`` and ``settings`` are the checkpoint's, changed where the caller asks for it. The
    metrics are cut back to the checkpoint's step.

    Raises InputError when the text is not the one that the run was trained on, and while another
    process trains it.
    """
    read = corpus.read(source)
    same = read.sha256 == saved.sha256 and read.vocabulary == saved.architecture.vocabulary
    check(same, f"{source.name} is not the text that the run in {folder} was trained on")
    model = saved.model()
    model.dropout = settings.dropout
    run = Run(folder, source, read, settings, model)
    run.restore(saved)
    with run.writing():
        run_files.cut_back(folder / METRICS, run.progress.step)
    return run


def load_last(folder: Path) -> Checkpoint:
    """The checkpoint that the run in ``folder`` goes on from."""
    check(folder.is_dir(), f"{folder}: there is no such run to resume")
    return checkpoint.load(folder / LAST)


def _by_name(architecture: Architecture, state: State | None) -> dict[str, Tensor]:
    """A carried state as ``state.h`` [layers, batch, hidden], ..."""
    if state is None:
        return {}
    tuples = [s if isinstance(s, tuple) else (s,) for s in state]
    stacked = (torch.cat(each) for each in zip(*tuples, strict=True))
    return {f"state.{n}": s for n, s in zip(architecture.cell.states, stacked, strict=True)}


def _by_layer(architecture: Architecture, tensors: Any) -> State:
    """The carried state as the layers take it."""
    named = [tensors[f"state.{name}"] for name in architecture.cell.states]
    layers = [tuple(s[k : k + 1].clone() for s in named) for k in range(architecture.layers)]
    return [s[0] if len(s) == 1 else s for s in layers]


def characters_per_second(run: Run, steps: int) -> float:
    """The speed of the next ``steps`` steps of `train`, reports and saving included.

    To compare recurrent layers, `run.start` a run for each with another ``make_layer`` and call
    this on them in turns.
    """
    first, began = run.progress.step, time.perf_counter()
    train(run, Unwatched(), lambda: run.progress.step >= first + steps)
    taken = run.progress.step - first
    characters = taken * run.work[0]
    return characters / (time.perf_counter() - began)
