"""The training loop, for text and for other tasks."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from grus.errors import InputError
from grus.models.language import State, detached
from grus.models.optimizers import make_optimizer
from grus.models.settings import LoopSettings, Place

SAVE_EVERY_SECONDS = 30.0
EXPLODED = 10.0  # times the loss of a guess


class DivergedError(InputError):
    """The weights of a run are no longer finite, or its loss exploded; ``how`` says which."""

    def __init__(self, how: str, advice: str = "") -> None:
        super().__init__(how + advice)
        self.how = how


class Learner(Protocol):
    """A model that knows its own loss."""

    def loss(
        self, x: Any, y: Any, state: State | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """The mean loss on one chunk and the states after it."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters to learn."""


class Trainable(ABC):
    """The state of a run between two steps; `train.train` takes the steps."""

    model: Learner

    settings: LoopSettings
    progress: Place

    def __init__(
        self, parameters: list[nn.Parameter], settings: LoopSettings, progress: Place
    ) -> None:
        self.parameters, self.settings, self.progress = parameters, settings, progress
        self.optimizer = make_optimizer(parameters, settings)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.state: State | None = None
        self.loss_sum = torch.zeros((), dtype=torch.float64)

    @property
    @abstractmethod
    def report_every(self) -> int:
        """Steps from report to report."""

    @property
    @abstractmethod
    def work(self) -> tuple[float, str]:
        """What a step goes through: a number, and of what, in the plural."""

    @property
    def spent(self) -> float:
        """The share of the budget that is spent."""
        budget, now = self.settings, self.progress
        if budget.steps is not None:
            return now.step / budget.steps
        return now.seconds / (budget.seconds or math.inf)

    @property
    def done(self) -> float:
        """The run is finished at 1."""
        return self.spent

    @property
    def train_loss(self) -> float:
        """The mean loss since the last report; NaN when no step was taken since."""
        steps = self.progress.loss_steps
        return float(self.loss_sum) / steps if steps else math.nan

    @property
    def spoken_loss(self) -> str:
        """The training loss in words."""
        return f"loss {self.train_loss:.3f}"

    @abstractmethod
    def chunk(self) -> tuple[Any, Any]:
        """Inputs and targets of the next step, as the model takes them."""

    def take(self, x: Any, y: Any) -> tuple[Tensor, State]:
        """One step on one chunk: (the mean loss, the state to carry on)."""
        clip = self.settings.clip
        return learn(self.model, self.optimizer, x, y, self.state, clip, self.generator)

    def advance(self, loss: Tensor, state: State, seconds: float) -> None:
        """Note that a step was taken."""
        self.loss_sum += loss
        self.progress.loss_steps += 1
        self.progress.step += 1
        self.progress.seconds += seconds

    def forget_losses(self) -> None:
        """Begin the mean of the training loss anew."""
        self.progress.loss_steps = 0
        self.loss_sum.zero_()

    def writing(self) -> AbstractContextManager[None]:
        """A context in which no other process can write to the run's folder, if it has one."""
        return nullcontext()

    @abstractmethod
    def report(self) -> Any:
        """Measure how good the model is."""

    @abstractmethod
    def save(self) -> None:
        """Keep the run as it stands, if it is kept.

        Raises DivergedError when the weights are no longer finite, or the mean loss since the last
        report is more than ten times a guess's.
        """


R = TypeVar("R", bound=Trainable)
R_contra = TypeVar("R_contra", contravariant=True)


class RunWatch(Protocol[R_contra]):
    """The display of a run in progress."""

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
        loss, state = run.take(*run.chunk())
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
    x: Any,
    y: Any,
    state: State | None,
    clip: float,
    generator: torch.Generator | None,
    noise: AbstractContextManager[None] | None = None,
) -> tuple[Tensor, State]:
    """One step on one chunk: (the model's mean loss, the state to carry on).

    In ``noise`` the loss and its gradients are worked out.
    """
    with noise or nullcontext():
        loss, state = model.loss(x, y, state, generator)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
    if clip:
        clip_grad_norm_(model.parameters(), clip, foreach=True)
    optimizer.step()
    return loss.detach(), detached(state)


class Unwatched:
    """A watch that does nothing."""

    def step(self, run: Trainable) -> None:
        """Nothing to see."""

    def report(self, run: Trainable, metrics: Any) -> None:
        """Nothing to see."""


def check_finite(tensors: Sequence[Tensor], step: int, advice: str = "") -> None:
    """Raise DivergedError if a number is NaN or infinite."""
    if not all(bool(t.isfinite().all()) for t in tensors):
        raise DivergedError(f"the weights are no longer finite at step {step}", advice)


def check_loss(
    which: str, loss: float, guessed: float, unit: str, step: int, advice: str = ""
) -> None:
    """Raise DivergedError if a finite loss is more than ten times ``guessed``, a guess's loss."""
    if loss > EXPLODED * guessed:
        raise DivergedError(
            f"the {which} loss exploded: {loss:.3g} {unit} at step {step}",
            f", where guessing costs {guessed:.3g}; lower --lr, or set --clip (1 is usual){advice}",
        )
