"""A run that is kept in a folder: ``last.safetensors`` is where it stands, ``best.safetensors`` the
model that was best on what was held out, ``metrics.jsonl`` one line per report."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from grus.errors import InputError
from grus.models import run_files
from grus.models.settings import LoopSettings, Place, check
from grus.models.train import Trainable, check_finite, check_loss

LAST, BEST, METRICS = "last.safetensors", "best.safetensors", "metrics.jsonl"


class KeptRun(Trainable):
    """A run in a folder; a kill at any moment leaves it whole."""

    def __init__(
        self,
        folder: Path,
        weights: dict[str, nn.Parameter],
        settings: LoopSettings,
        progress: Place,
    ) -> None:
        super().__init__(list(weights.values()), settings, progress)
        self.folder, self.weights = folder, weights

    @property
    @abstractmethod
    def chunks(self) -> int:
        """Of the current epoch."""

    @property
    def spent(self) -> float:
        """The share of the budget that is spent."""
        if self.settings.epochs is None:
            return super().spent
        now = self.progress
        return (now.epoch + now.chunk / self.chunks) / self.settings.epochs

    @abstractmethod
    def content(self) -> bytes:
        """The run as it stands, as a checkpoint's bytes."""

    @abstractmethod
    def saved_step(self) -> int:
        """The step of ``last.safetensors``."""

    @property
    @abstractmethod
    def guess(self) -> tuple[float, str]:
        """The loss of an untrained model, and its unit."""

    def keep(self, metrics: dict[str, Any], better: bool) -> None:
        """Write a report down. The metrics go first and ``last`` goes last: a kill in between is
        a run that stands before the report, and resuming cuts the metrics back to there."""
        run_files.append_line(self.folder / METRICS, metrics)
        self.forget_losses()
        if better:
            self.progress.best_step = self.progress.step
        content = self.content()
        if better:
            run_files.replace(self.folder / BEST, content)
        run_files.replace(self.folder / LAST, content)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The folder is this run's alone. Raises InputError where another process has it or has
        gone on with it since."""
        with run_files.only_writer(self.folder):
            now, step = self.saved_step(), self.progress.step
            message = (
                f"the run in {self.folder} has gone from step {step} to {now}: resume it again"
            )
            check(now == step, message)
            yield

    def save(self) -> None:
        """Write ``last.safetensors``, whole or not at all.

        Raises DivergedError instead of saving weights that are no longer finite, or those of a
        loss, the mean since the last report, of more than ten times a guess's.
        """
        self.check_sound()
        run_files.replace(self.folder / LAST, self.content())

    def check_sound(self, held: float | None = None) -> None:
        """Raise DivergedError as `save` does, and where the held-out loss exploded."""
        saved = f"what was saved last is in {self.folder}"
        step = self.progress.step
        check_finite([self.loss_sum, *self.parameters], step, f": lower --lr or --clip; {saved}")
        for which, loss in (("training", self.train_loss), ("validation", held)):
            if loss is not None:
                check_loss(which, loss, *self.guess, step, f"; {saved}")

    def begin(self) -> None:
        """Make the folder and save once, so that the run can be resumed before its first step.

        Raises InputError when the folder holds a run already.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be made: {error.strerror}") from None
        with run_files.only_writer(self.folder):
            check_free(self.folder)  # two may have begun at once
            self.save()


def check_free(folder: Path) -> None:
    """Raise InputError if a run in ``folder`` would overwrite something."""
    check(folder.is_dir() or not folder.exists(), f"{folder} is not a folder")
    taken = [name for name in (LAST, BEST, METRICS) if (folder / name).exists()]
    check(
        not taken,
        f"{folder} already holds a run ({', '.join(taken)}): go on with it by"
        f" --resume {folder}, or name another folder by --out",
    )


def find(folder: Path) -> Path:
    """The checkpoint to work with: the best model, or the last where nothing was held out."""
    if folder.is_file():
        return folder
    check(folder.is_dir(), f"{folder}: there is no such run; grus train and grus fit make them")
    for name in (BEST, LAST):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder} holds no run: neither {BEST} nor {LAST}")
