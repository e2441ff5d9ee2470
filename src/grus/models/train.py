"""The training loop, for text and for other tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from grus.models.language import State, detached
from grus.models.run import Metrics, Run
from grus.models.settings import Progress, Settings

SAVE_EVERY_SECONDS = 30.0


class Learner(Protocol):
    """A model that knows its own loss."""

    def loss(
        self, x: Tensor, y: Tensor, state: State | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """The mean loss on one chunk and the states after it."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters to learn."""


class Trainable(Protocol):
    """A run that `train` can take the steps of: `Run`, or a run on another task."""

    settings: Settings
    progress: Progress
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    state: State | None

    @property
    def model(self) -> Learner:
        """The model to train."""

    @property
    def report_every(self) -> int:
        """Steps from report to report."""

    @property
    def done(self) -> float:
        """The share of the budget that is spent; the run is finished at 1."""

    def chunk(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next step."""

    def advance(self, loss: Tensor, state: State, seconds: float) -> None:
        """Note that a step was taken."""

    def writing(self) -> AbstractContextManager[None]:
        """A context in which no other process can write to the run's folder."""

    def report(self) -> Any:
        """Measure how good the model is."""

    def save(self) -> None:
        """Keep the run as it stands, where it is kept."""


R = TypeVar("R", bound=Trainable)
R_contra = TypeVar("R_contra", contravariant=True)


class RunWatch(Protocol[R_contra]):
    """What shows the run while it trains."""

    def step(self, run: R_contra) -> None:
        """A step was taken."""

    def report(self, run: R_contra, metrics: Any) -> None:
        """A report was made: `Metrics` of a text, or what another task measures."""


def train(run: R, watch: RunWatch[R], stop: Callable[[], bool]) -> None:
    """Train until the budget is spent or ``stop()`` says so; either way the run is saved.

    Raises DivergedError, an InputError, when the weights are no longer finite or the loss exploded
    (what was saved before is kept), and InputError at once when another process trains the run.
    """
    with run.writing(), threads(run.settings.threads):
        _train(run, watch, stop)


def _train(run: R, watch: RunWatch[R], stop: Callable[[], bool]) -> None:
    every, saved, began = run.report_every, time.monotonic(), time.perf_counter()
    while run.done < 1 and not stop():
        x, y = run.chunk()  # [time, batch]
        loss, state = learn(
            run.model, run.optimizer, x, y, run.state, run.settings.clip, run.generator
        )
        now = time.perf_counter()
        run.advance(loss, state, now - began)
        began = now
        if run.progress.step % every == 0:
            watch.report(run, run.report())
            saved = time.monotonic()
        elif time.monotonic() - saved > SAVE_EVERY_SECONDS:
            run.save()
            saved = time.monotonic()
        watch.step(run)
    if run.done >= 1 and run.progress.loss_steps:
        watch.report(run, run.report())
    else:
        run.save()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes on ``count`` threads; afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def learn(
    model: Learner,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    state: State | None,
    clip: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, State]:
    """One step on one chunk [time, batch]: (the model's mean loss, the state to carry on)."""
    loss, state = model.loss(x, y, state, generator)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if clip:
        clip_grad_norm_(model.parameters(), clip, foreach=True)
    optimizer.step()
    return loss.detach(), detached(state)


class Unwatched:
    """A watch that does nothing."""

    def step(self, run: Run) -> None:
        """Nothing to see."""

    def report(self, run: Run, metrics: Metrics) -> None:
        """Nothing to see."""


def characters_per_second(run: Run, steps: int) -> float:
    """The speed of the next ``steps`` steps of `train`, reports and saving included.

    To compare recurrent layers, `run.start` a run for each with another ``make_layer`` and call
    this on them in turns.
    """
    first, began = run.progress.step, time.perf_counter()
    train(run, Unwatched(), lambda: run.progress.step >= first + steps)
    taken = run.progress.step - first
    characters = taken * run.settings.batch * run.settings.seq_len
    return characters / (time.perf_counter() - began)
