"""The training loop, in the order in which it happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from grus.models.language import LanguageModel, State, detached
from grus.models.run import Metrics, Run

SAVE_EVERY_SECONDS = 30.0


class Watch(Protocol):
    """Who is shown the run while it goes on."""

    def step(self, run: Run) -> None:
        """A step was taken."""

    def report(self, run: Run, metrics: Metrics) -> None:
        """A report was made."""


def train(run: Run, watch: Watch, stop: Callable[[], bool]) -> None:
    """Train until the budget is spent or ``stop()`` says so; either way the run is saved.

    Raises InputError when the weights are no longer finite; what was saved before is kept.
    """
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


def learn(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    state: State | None,
    clip: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, State]:
    """One step on one chunk [time, batch]: (mean loss in nats, the state to carry on)."""
    scores, state = model(x, state, generator)  # [time, batch, symbols]
    loss = functional.cross_entropy(scores.flatten(0, 1), y.flatten())
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if clip:
        clip_grad_norm_(model.parameters(), clip, foreach=True)
    optimizer.step()
    return loss.detach(), detached(state)


class Nobody:
    """A watch that looks away."""

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
    train(run, Nobody(), lambda: run.progress.step >= first + steps)
    taken = run.progress.step - first
    characters = taken * run.settings.batch * run.settings.seq_len
    return characters / (time.perf_counter() - began)
