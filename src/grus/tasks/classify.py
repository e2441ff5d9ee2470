"""Classes of sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grus.errors import InputError
from grus.models.settings import check
from grus.tasks.labelled import Labelled, Pooled, Scales, neighbours, scales_of
from grus.tasks.sequences import Sequences
from grus.tasks.task import Metrics, Sizes, Splits, option

if TYPE_CHECKING:
    import polars as pl

BINS = 10


@dataclass(frozen=True)
class Classes(Scales):
    """The encoding: scales, and the ``classes``, sorted, with their ``counts`` in training."""

    classes: tuple[str, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = len(self.classes) == len(self.counts) and list(self.classes) == sorted(self.classes)
        check(
            fits and len(self.classes) > 1, "classes must be sorted, two or more, with a count each"
        )


@dataclass(frozen=True)
class Classify(Labelled[Classes]):
    """Which of several classes a sequence belongs to; cross-entropy."""

    balanced: bool = option(False, "Give all classes the same weight in the loss.")

    name: ClassVar[str] = "classify"
    unit: ClassVar[str] = "nats per sequence"
    encoding: ClassVar[type] = Classes
    stratified: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 60, "hidden": 64, "lr": 0.005, "batch": 32, "schedule": "cosine", "dropout": 0.2,
    }  # fmt: skip

    def learn(self, train: Sequences) -> Classes:
        """Scales and classes. Raises InputError where there is one class only."""
        classes, counts = np.unique(train.labels, return_counts=True)
        if len(classes) < 2:
            raise InputError(f"two classes or more are needed, all labels are {str(classes[0])!r}")
        named = (tuple(classes.tolist()), tuple(counts.tolist()))
        return Classes(**scales_of(train.values, train.channels), classes=named[0], counts=named[1])

    def network(self, encoding: Classes, sizes: Sizes, dropout: float) -> Pooled:
        """`Pooled`, with a score for each class."""
        weight = None
        if self.balanced:
            counts = torch.tensor(encoding.counts, dtype=torch.float32)
            weight = counts.sum() / (len(counts) * counts)

        def criterion(scores: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.cross_entropy(scores, targets, weight)

        shape = (encoding.inputs, len(encoding.classes), self.pool, self.both)
        return Pooled(sizes, *shape, dropout, criterion)

    def targets(self, encoding: Classes, examples: Sequences) -> Tensor:
        """Class numbers. Raises InputError for a class that training did not see."""
        number = {name: k for k, name in enumerate(encoding.classes)}
        unknown = sorted(set(examples.labels) - set(number))
        if unknown:
            raise InputError(
                f"the class {unknown[0]!r} does not occur among the {self.examples} to train on"
            )
        return torch.tensor([number[label] for label in examples.labels])

    def guess(self, encoding: Classes) -> float:
        """All classes alike."""
        return math.log(len(encoding.classes))

    def measure(self, network: Any, encoding: Classes, examples: Sequences) -> Metrics:
        """Cross-entropy, the shares of right answers (of all; mean over classes), the mean F1, and
        the calibration error: |confidence - accuracy| over ten bins of confidence."""
        scores = self.answers(network, encoding, examples)
        log_p = scores - np.logaddexp.reduce(scores, 1, keepdims=True)
        return _judged(np.exp(log_p), self.targets(encoding, examples).numpy())

    def baselines(
        self, encoding: Classes, train: Sequences, examples: Sequences
    ) -> dict[str, Metrics]:
        """The commonest class; the class of the nearest neighbour by `summary`."""
        from sklearn.neighbors import KNeighborsClassifier

        truth = self.targets(encoding, examples).numpy()
        shares = np.array(encoding.counts) / sum(encoding.counts)
        seen, asked = neighbours(train.values, examples.values)
        nearest = KNeighborsClassifier(1).fit(seen, self.targets(encoding, train).numpy())
        rows = np.broadcast_to(shares, (len(truth), len(shares)))
        near = np.eye(len(shares))[nearest.predict(asked)]
        nearest_judged = _judged(near, truth)
        sure = ("accuracy", "balanced_accuracy", "f1")  # it has no probabilities
        return {
            "commonest class": _judged(rows, truth),
            "nearest neighbour": {k: nearest_judged[k] for k in sure},
        }

    def predict(self, network: Any, encoding: Classes, examples: Sequences) -> pl.DataFrame:
        """The class of each sequence, its probability, and that of every class."""
        import polars as pl

        scores = self.answers(network, encoding, examples)
        p = np.exp(scores - np.logaddexp.reduce(scores, 1, keepdims=True))
        best = p.argmax(1)
        columns: dict[str, Any] = {
            self.sequence: examples.names,
            self.label: [encoding.classes[k] for k in best],
            "probability": p.max(1),
        }
        columns |= {f"p({name})": p[:, k] for k, name in enumerate(encoding.classes)}
        return pl.DataFrame(columns)

    def describe(self, encoding: Classes, parts: Splits[Sequences]) -> list[str]:
        """The parts, the channels and the classes."""
        lengths = [len(v) for v in parts.train.values]
        marks = ", with missing values" if encoding.missing else ""
        return [
            *super().describe(encoding, parts),
            f"channels: {len(encoding.channels)}{marks}; lengths {min(lengths)} to {max(lengths)}",
            f"classes: {len(encoding.classes)}, {min(encoding.counts)} to {max(encoding.counts)}"
            " sequences each",
        ]


def _judged(p: NDArray[np.float64], truth: NDArray[np.int64]) -> Metrics:
    from sklearn.metrics import f1_score

    answers, confidence = p.argmax(1), p.max(1)
    right = answers == truth
    with np.errstate(divide="ignore"):
        loss = -np.log(np.maximum(p[np.arange(len(truth)), truth], np.finfo(float).tiny))
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = sum(abs((confidence - right)[bins == k].sum()) for k in range(BINS)) / len(truth)
    recalls = [right[truth == k].mean() for k in np.unique(truth)]
    return {
        "loss": float(loss.mean()),
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "f1": float(f1_score(truth, answers, average="macro", zero_division=0.0)),
        "calibration_error": float(error),
    }
