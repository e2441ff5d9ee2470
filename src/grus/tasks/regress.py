"""A number for each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grus.errors import InputError
from grus.models.settings import check
from grus.tasks.labelled import Labelled, Pooled, Scales, neighbours, scales_of
from grus.tasks.sequences import NUMBER, Sequences
from grus.tasks.task import Metrics, Sizes

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Target(Scales):
    """The encoding: scales, and the target's mean and deviation in training."""

    target_mean: float
    target_deviation: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.target_deviation > 0, "the target's deviation must be above 0")


@dataclass(frozen=True)
class Regress(Labelled[Target]):
    """A number for each sequence; squared error of the scaled target."""

    name: ClassVar[str] = "regress"
    unit: ClassVar[str] = "mean squared error, scaled"
    encoding: ClassVar[type] = Target
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 60, "hidden": 64, "lr": 0.005, "batch": 32, "schedule": "cosine", "dropout": 0.1,
    }  # fmt: skip

    def learn(self, train: Sequences) -> Target:
        """Scales. Raises InputError where all targets are the same."""
        y = _numbers(train)
        deviation = float(y.std())
        if deviation <= 1e-12 * max(1.0, abs(float(y.mean()))):
            raise InputError(f"all targets are {y[0]:g}: there is nothing to learn")
        scales = scales_of(train.values, train.channels)
        return Target(**scales, target_mean=float(y.mean()), target_deviation=deviation)

    def network(self, encoding: Target, sizes: Sizes, dropout: float) -> Pooled:
        """`Pooled`, with one answer."""

        def criterion(answers: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.mse_loss(answers[:, 0], targets)

        return Pooled(sizes, encoding.inputs, 1, self.pool, self.both, dropout, criterion)

    def targets(self, encoding: Target, examples: Sequences) -> Tensor:
        """The scaled numbers."""
        y = (_numbers(examples) - encoding.target_mean) / encoding.target_deviation
        return torch.from_numpy(y).float()

    def guess(self, encoding: Target) -> float:
        """The mean: the scaled target's variance."""
        return 1.0

    def measure(self, network: Any, encoding: Target, examples: Sequences) -> Metrics:
        """Scaled squared error, and in the target's unit mean absolute error, root mean squared
        error, and the share of the variance that is explained."""
        answers = self._unscaled(network, encoding, examples)
        return _judged(answers, _numbers(examples), encoding)

    def _unscaled(self, network: Any, encoding: Target, examples: Sequences) -> NDArray[np.float64]:
        scaled = self.answers(network, encoding, examples)[:, 0]
        return scaled * encoding.target_deviation + encoding.target_mean

    def baselines(
        self, encoding: Target, train: Sequences, examples: Sequences
    ) -> dict[str, Metrics]:
        """The mean; the number of the nearest neighbour by `summary`."""
        from sklearn.neighbors import KNeighborsRegressor

        seen, asked = neighbours(train.values, examples.values)
        truth, known = _numbers(examples), _numbers(train)
        near = KNeighborsRegressor(1).fit(seen, known).predict(asked)
        return {
            "mean": _judged(np.full(len(truth), encoding.target_mean), truth, encoding),
            "nearest neighbour": _judged(near, truth, encoding),
        }

    def predict(self, network: Any, encoding: Target, examples: Sequences) -> pl.DataFrame:
        """The number of each sequence."""
        import polars as pl

        answers = self._unscaled(network, encoding, examples)
        return pl.DataFrame({self.sequence: examples.names, self.label: answers})


def _numbers(examples: Sequences) -> NDArray[np.float64]:
    for name, label in zip(examples.names, examples.labels, strict=True):
        if not NUMBER.match(label):
            raise InputError(f"the label of sequence {name}, {label[:40]!r}, is not a number")
    return np.array(examples.labels, np.float64)


def _judged(answers: NDArray[np.float64], truth: NDArray[np.float64], encoding: Target) -> Metrics:
    error = answers - truth
    spread = float(((truth - truth.mean()) ** 2).mean())
    squared = float((error**2).mean())
    explained = {"r2": 1 - squared / spread} if spread > 0 else {}
    return {
        "loss": squared / encoding.target_deviation**2,
        "mae": float(np.abs(error).mean()),
        "rmse": squared**0.5,
        **explained,
    }
