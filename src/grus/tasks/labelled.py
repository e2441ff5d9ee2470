"""What tasks on labelled sequences have in common: reading, parting, scaling, the network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grus.errors import InputError
from grus.models.language import State
from grus.models.settings import check
from grus.tasks.sequences import Array, Columns, Sequences, read_sequences
from grus.tasks.task import Network, Sizes, Splits, Task, option

POOLS = ("last", "mean", "attention")
SPLIT_SEED = 2**40  # beyond the seeds that people give: parts are the same for all of them
MOST_STEPS = 2**18  # time steps of all rows that are measured at once


@dataclass(frozen=True)
class Scales:
    """What is the same for all sequences: the channels, their means and deviations in training, and
    whether the network is told which values are ``missing``."""

    channels: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    missing: bool

    def __post_init__(self) -> None:
        sizes = {len(self.channels), len(self.mean), len(self.deviation)}
        check(
            len(sizes) == 1 and bool(self.channels), "scales must have one number for each channel"
        )
        check(all(d > 0 for d in self.deviation), "a channel's deviation must be above 0")

    @property
    def inputs(self) -> int:
        """Of the network: the channels, and where values may be missing one mark for each."""
        return len(self.channels) * (1 + self.missing)


S = TypeVar("S", bound=Scales)


def scales_of(values: list[Array], channels: tuple[str, ...]) -> dict[str, Any]:
    """The fields of `Scales` from sequences to train on; a channel that never varies keeps its
    scale, one that is always missing stands at 0."""
    table = np.concatenate(values).astype(np.float64)
    missing = np.isnan(table)
    counts = np.maximum((~missing).sum(0), 1)
    mean = np.where(missing, 0.0, table).sum(0) / counts
    variance = np.where(missing, 0.0, (table - mean) ** 2).sum(0) / counts
    deviation = np.sqrt(variance)
    deviation[deviation < 1e-12 * np.maximum(1.0, np.abs(mean))] = 1.0
    return {
        "channels": channels,
        "mean": tuple(mean.tolist()),
        "deviation": tuple(deviation.tolist()),
        "missing": bool(missing.any()),
    }


class LazyBatches(Sequence[tuple[Any, Any]]):
    """Batches that are made when they are asked for."""

    def __init__(self, places: Sequence[Any], make: Callable[[Any], tuple[Any, Any]]) -> None:
        self.places, self.make = places, make

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, k: Any) -> Any:
        return self.make(self.places[k])


@dataclass(frozen=True)
class Labelled(Task[Sequences, S], Generic[S]):
    """A task on labelled sequences."""

    label: str = option("label", "Column of the labels.")
    sequence: str = option("sequence", "Column of a long table that names a row's sequence.")
    time: str = option("", "Column of a long table that its rows are ordered by.")
    channels: str = option("", "Columns to read, as a,b; all others of a table by default.")
    pool: str = option("last", f"What is read of the outputs: {', '.join(POOLS)}.")
    both: bool = option(False, "Read in both directions.")

    examples: ClassVar[str] = "sequences"
    stratified: ClassVar[bool] = False
    """Whether each label is parted in the same shares."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.pool in POOLS, f"--pool must be one of {', '.join(POOLS)}, got {self.pool!r}")

    def read(self, source: Any, encoding: S | None = None) -> Sequences:
        """Sequences of a ``.ts`` file, a long or a wide table (`read_sequences`)."""
        if isinstance(source, Sequences):
            sequences = source
        else:
            chosen = tuple(name.strip() for name in self.channels.split(",") if name.strip())
            known = chosen or tuple(filter(None, encoding.channels if encoding else ()))
            columns = Columns(self.label, self.sequence, self.time, known)
            sequences = read_sequences(source, columns, encoding is None)
        if encoding is not None and sequences.channels != encoding.channels:
            wanted, got = ", ".join(encoding.channels), ", ".join(sequences.channels)
            raise InputError(f"the channels {wanted} were fitted, the data have {got}")
        return sequences

    def split(self, data: Sequences, test: Sequences | None) -> Splits[Sequences]:
        """At random, the same for all seeds."""
        if test is not None:
            same = test.channels == data.channels
            check(same, "the data to test on have other channels than those to train on")
        groups = np.zeros(len(data), np.int64)
        if self.stratified:
            groups = np.unique(data.labels, return_inverse=True)[1]
        place = np.random.default_rng(SPLIT_SEED).permutation(len(data))
        rank = np.empty(len(data))  # of each sequence among those of its group, in [0, 1)
        for group in range(int(groups.max()) + 1):
            inside = place[groups[place] == group]
            rank[inside] = (np.arange(len(inside)) + 0.5) / len(inside)
        testing = 0.0 if test is not None else self.test
        parts = (
            data.part(np.flatnonzero(rank >= testing + self.validation)),
            data.part(np.flatnonzero((rank >= testing) & (rank < testing + self.validation))),
            data.part(np.flatnonzero(rank < testing)) if test is None else test,
        )
        return Splits(*parts)

    @abstractmethod
    def targets(self, encoding: S, examples: Sequences) -> Tensor:
        """The labels as the network's loss takes them, a row each."""

    def inputs(self, encoding: S, values: list[Array]) -> tuple[Tensor, Tensor]:
        """Padded inputs [time, rows, `Scales.inputs`] and lengths [rows]."""
        lengths = torch.tensor([len(v) for v in values])
        width = len(encoding.channels)
        x = torch.zeros(int(lengths.max()), len(values), encoding.inputs)
        mean, deviation = (np.array(v, np.float64) for v in (encoding.mean, encoding.deviation))
        for k, value in enumerate(values):
            scaled = (value - mean) / deviation
            absent = np.isnan(scaled)
            x[: len(value), k, :width] = torch.from_numpy(np.where(absent, 0.0, scaled))
            if encoding.missing:
                x[: len(value), k, width:] = torch.from_numpy(absent)
        return x, lengths

    def batches(
        self, encoding: S, examples: Sequences, rows: int, order: torch.Generator | None
    ) -> Sequence[tuple[Any, Any]]:
        """Padded sequences with their lengths, and the targets."""
        count = len(examples)
        places = torch.arange(count) if order is None else torch.randperm(count, generator=order)
        targets = self.targets(encoding, examples)

        def make(some: Tensor) -> tuple[Any, Any]:
            values = [examples.values[k] for k in some.tolist()]
            return self.inputs(encoding, values), targets[some]

        return LazyBatches(torch.split(places, rows) if count else [], make)

    def answers(self, network: Any, encoding: S, examples: Sequences) -> NDArray[np.float64]:
        """What the network answers, [sequences, outputs]; sequences of like length together."""
        lengths = np.array([len(v) for v in examples.values])
        answers = None
        for some in portions(lengths, MOST_STEPS):
            x, sizes = self.inputs(encoding, [examples.values[k] for k in some])
            scores = network(x, sizes).double().numpy()
            if answers is None:
                answers = np.empty((len(lengths), scores.shape[1]))
            answers[some] = scores
        assert answers is not None
        return answers


def portions(lengths: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """All places, by length, in portions that take at most ``most`` steps when they are padded."""
    order = np.argsort(lengths, kind="stable")
    parts, begin = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - begin) > most:
            parts.append(order[begin:end])
            begin = end
    return parts


class Pooled(nn.Module, Network):
    """Recurrent layers, their outputs pooled over time, and a linear map.

    ``last`` reads each direction's last output, ``mean`` the mean over the sequence's own steps,
    ``attention`` a mean weighted by softmax(v . tanh(A y)) over them (Yang et al. 2016).
    """

    def __init__(
        self,
        sizes: Sizes,
        inputs: int,
        outputs: int,
        pool: str,
        both: bool,
        dropout: float,
        criterion: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        between = dropout if sizes.layers > 1 else 0.0
        self.recurrent = sizes.recurrent(inputs, bidirectional=both, dropout=between)
        width = sizes.hidden * (1 + both)
        self.pool, self.criterion, self.both = pool, criterion, both
        self.dropout = nn.Dropout(dropout)
        if pool == "attention":
            self.attention = nn.Linear(width, width)
            self.focus = nn.Linear(width, 1, bias=False)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The answers [rows, outputs] to ``x`` [time, rows, inputs] of these lengths [rows]."""
        y, _ = self.recurrent(x, lengths=lengths)
        answers: Tensor = self.linear(self.dropout(self.pooled(y, lengths)))
        return answers

    def pooled(self, y: Tensor, lengths: Tensor) -> Tensor:
        """One row for each sequence of ``y`` [time, rows, width]."""
        if self.pool == "last":
            ends = y[(lengths - 1).clamp(min=0), torch.arange(y.shape[1])]
            if not self.both:
                return ends
            half = y.shape[2] // 2  # the other direction ends at the first step
            return torch.cat([ends[:, :half], y[0, :, half:]], 1)
        inside = torch.arange(len(y))[:, None] < lengths
        if self.pool == "mean":
            return y.sum(0) / lengths.clamp(min=1)[:, None]  # outputs past an end are 0
        scores: Tensor = self.focus(torch.tanh(self.attention(y)))[..., 0]
        weights = scores.masked_fill(~inside, -torch.inf).softmax(0)
        return (weights[..., None] * y).sum(0)

    def loss(
        self, x: Any, y: Any, state: State | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """The criterion's mean over the rows."""
        return self.criterion(self(*x), y), []


def summary(values: list[Array]) -> NDArray[np.float64]:
    """Mean, deviation, least, greatest, first and last value of each channel, and the length:
    [sequences, 6 channels + 1]. What is missing throughout is 0."""
    rows = []
    for value in values:
        absent = np.isnan(value)
        mean = np.where(absent, 0.0, value).sum(0) / np.maximum((~absent).sum(0), 1)
        filled = np.where(absent, mean, value)
        each = [filled.mean(0), filled.std(0), filled.min(0), filled.max(0), filled[0], filled[-1]]
        rows.append(np.concatenate([*each, [len(value)]]))
    return np.array(rows, np.float64)


def neighbours(train: list[Array], asked: list[Array]) -> tuple[NDArray[np.float64], ...]:
    """`summary` of both, scaled alike by those to train on."""
    seen, others = summary(train), summary(asked)
    mean, deviation = seen.mean(0), seen.std(0)
    deviation[deviation == 0] = 1.0
    return (seen - mean) / deviation, (others - mean) / deviation
