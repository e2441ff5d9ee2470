"""What every task says of itself; one file a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from grus.equations import CONNECTIONS, Cell
from grus.models.settings import LoopSettings, check

if TYPE_CHECKING:
    import polars as pl
    import torch

    from grus.layers import Recurrent
    from grus.models.language import State

MAX_SIZE = 1_000_000  # keeps products of sizes far inside 64 bits, whatever a file says
MAX_LAYERS = 1000
SCHEDULES = ("constant", "cosine", "decay", "plateau")


def option(default: Any, help: str) -> Any:
    """A field of a task that is an option of its command."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class FitSettings(LoopSettings):
    """The settings of a fit.

    ``schedule`` moves the learning rate: ``cosine`` to 0 over the budget, ``decay`` times 0.9 an
    epoch after the third, ``plateau`` by half whenever three reports in a row were not better.
    ``patience`` ends a run after so many reports that were not better; None: never.
    ``weight_noise`` is the standard deviation of what is added to every weight while a gradient is
    worked out. Reports are once an epoch where ``report_every`` is None.
    """

    schedule: str = "constant"
    patience: int | None = None
    weight_noise: float = 0.0

    def _check_numbers(self) -> None:
        super()._check_numbers()
        known = ", ".join(SCHEDULES)
        check(self.schedule in SCHEDULES, f"--schedule must be one of {known}, got {self.schedule}")
        fits = 0 <= self.weight_noise < 1e6
        check(fits, f"--weight-noise must be 0 or more, got {self.weight_noise}")


@dataclass(frozen=True)
class Sizes:
    """The recurrent layers of a network: ``cell``, ``hidden`` units, their number and what joins
    them (`grus.Recurrent`). ``decoder`` is the cell of the layers that write, None for the same."""

    cell: Cell
    hidden: int = 64
    layers: int = 1
    connect: str = ""
    decoder: Cell | None = None
    gate_bias: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, most in (("hidden", MAX_SIZE), ("layers", MAX_LAYERS)):
            size = getattr(self, name)
            check(1 <= size <= most, f"--{name} must lie in 1..{most}, got {size}")
        known = self.connect in CONNECTIONS
        check(known, f"--connect must be one of {CONNECTIONS[1:]}, got {self.connect!r:.80}")

    def recurrent(self, inputs: int, **options: Any) -> Recurrent:
        """Layers of these sizes; ``options`` are further ones of `grus.Recurrent`."""
        from grus.layers import Recurrent

        options = {"connect": self.connect, "gate_bias": self.gate_bias, **options}
        return Recurrent(self.cell, inputs, self.hidden, self.layers, **options)


Encoding = TypeVar("Encoding")
Examples = TypeVar("Examples")


@dataclass(frozen=True)
class Splits(Generic[Examples]):
    """Examples to train on, to validate on while training, and to test on once, at the end."""

    train: Examples
    validation: Examples
    test: Examples


Metrics = dict[str, float]
"""Numbers by name; ``loss`` is the one that training lowers and the best model is chosen by."""


@dataclass(frozen=True)
class Task(ABC, Generic[Examples, Encoding]):
    """What is to be learnt; the fields are the options of `grus fit NAME`.

    ``Examples`` have a length; the ``Encoding`` is a frozen dataclass of plain values (as JSON has
    them) that is taken from the examples to train on alone: scales, classes, vocabularies. Nothing
    here is kept between two calls.
    """

    validation: float = option(0.1, "Share of the examples that training is watched on.")
    test: float = option(0.2, "Share that is only tested on; none where --test-data is given.")

    name: ClassVar[str]
    unit: ClassVar[str]
    """Of the loss."""
    examples: ClassVar[str]
    """What is counted, in the plural: sequences, windows, sessions, pairs."""
    encoding: ClassVar[type]
    defaults: ClassVar[Mapping[str, Any]]
    """Settings and sizes that serve the task: epochs, hidden, lr, ..."""
    decodes: ClassVar[bool] = False
    """Whether `Sizes.decoder` is used."""

    def __post_init__(self) -> None:
        for part in ("validation", "test"):
            value = getattr(self, part)
            check(0 <= value < 1, f"--{part} must lie in [0, 1), got {value}")
        check(self.validation + self.test < 1, "--validation and --test leave nothing to train on")

    @abstractmethod
    def read(self, source: Any, encoding: Encoding | None = None) -> Examples:
        """Examples from a path or a data frame; with an encoding, to predict for: targets may lack.

        Raises InputError that names file, row and column.
        """

    @abstractmethod
    def split(self, data: Examples, test: Examples | None) -> Splits[Examples]:
        """The three parts; ``test`` are examples of a file of their own."""

    @abstractmethod
    def learn(self, train: Examples) -> Encoding:
        """The encoding."""

    @abstractmethod
    def network(self, encoding: Encoding, sizes: Sizes, dropout: float) -> Network:
        """A module with fresh weights, parameters in float32, no buffers."""

    @abstractmethod
    def batches(
        self, encoding: Encoding, examples: Examples, rows: int, order: torch.Generator | None
    ) -> Sequence[tuple[Any, Any]]:
        """Inputs and targets as the network's ``loss`` takes them, ``rows`` examples each, made
        when asked for; in the order that ``order`` draws, or as they lie."""

    @abstractmethod
    def guess(self, encoding: Encoding) -> float:
        """The loss of a network that knows nothing; ten times of it counts as divergence."""

    @abstractmethod
    def measure(self, network: Network, encoding: Encoding, examples: Examples) -> Metrics:
        """How good the network is on examples, in evaluation mode; memory is bounded."""

    @abstractmethod
    def baselines(
        self, encoding: Encoding, train: Examples, examples: Examples
    ) -> dict[str, Metrics]:
        """The same numbers (those that apply) of simple ways to answer, by name."""

    @abstractmethod
    def predict(self, network: Network, encoding: Encoding, examples: Examples) -> pl.DataFrame:
        """The answers, one row each, under names that the data's author knows."""

    def describe(self, encoding: Encoding, parts: Splits[Examples]) -> list[str]:
        """Lines that say what was read."""
        sizes = [f"{len(getattr(parts, p)):,} {what}" for p, what in PARTS.items()]
        return [f"{self.examples}: {', '.join(sizes)}"]


PARTS = {"train": "to train on", "validation": "to validate on", "test": "to test on"}


class Network(ABC):
    """What a task's module offers beside `torch.nn.Module`."""

    @abstractmethod
    def loss(
        self, x: Any, y: Any, state: State | None, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, State]:
        """The mean loss of one batch, and the states to carry on ([]: none). Random numbers are
        torch's own, which the loop seeds before each step."""

    def state(self, tensors: list[torch.Tensor]) -> State:
        """The states that hold these tensors, in order, as `loss` takes them."""
        return list(tensors)

    def carried(self, rows: int) -> list[tuple[int, ...]]:
        """The shapes of the states that `loss` gives back for ``rows`` examples."""
        return []
