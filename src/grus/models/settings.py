"""Settings of a training run; dataclasses of plain values to JSON and back."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from grus.errors import InputError

T = TypeVar("T")


def from_json(cls: type[T], value: object, where: str) -> T:
    """An instance of the dataclass ``cls`` from a JSON object.

    Raises InputError when a field is missing, unknown or of another type. What a value may be is
    for ``cls`` to check when it is built.
    """
    types_by_name = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise InputError(f"{where} must be an object with the fields {', '.join(names)}")
    return cls(**{n: _typed(value[n], types_by_name[n], f"{where}.{n}") for n in names})


def _typed(value: object, expected: Any, where: str) -> object:
    """``value`` if it is what the annotation ``expected`` says; whole numbers do for float."""
    if get_origin(expected) in (types.UnionType, Union):
        if value is None:
            return None
        expected = next(t for t in get_args(expected) if t is not type(None))
    if get_origin(expected) is dict and isinstance(value, dict):
        inner = get_args(expected)[1]
        return {str(k): _typed(v, inner, f"{where}.{k}") for k, v in value.items()}
    if get_origin(expected) is tuple and isinstance(value, list):
        inner = get_args(expected)[0]
        return tuple(_typed(v, inner, f"{where}[{k}]") for k, v in enumerate(value))
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # An int beyond float's range fails the comparison below instead of overflowing.
    if expected is float and is_number and abs(value) <= 1e300:  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    if expected is not float and type(value) is expected:
        return value
    raise InputError(
        f"{where} must be {getattr(expected, '__name__', expected)}, got {value!r:.80}"
    )


def check(condition: bool, message: str) -> None:
    """Raise InputError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


LEARNING_RATES = {"adam": 0.002, "sgd": 1.0, "adagrad": 0.1, "rmsprop": 0.001}
MOMENTS = {
    "adam": ("exp_avg", "exp_avg_sq"),
    "sgd": (),
    "adagrad": ("sum",),
    "rmsprop": ("square_avg",),
}
"""What each optimiser keeps beside every weight, by torch's names."""
MAX_COUNT = 2**53  # whole numbers stay exact in JSON up to here
COUNTS = ("seq_len", "batch", "steps", "epochs", "report_every", "patience")


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What the training loop is given; exactly one of ``steps``, ``epochs``, ``seconds``.

    ``clip`` bounds the norm of all gradients together, 0 does not clip. ``report_every`` is in
    steps; None is once an epoch. ``gate_bias`` is `grus.Recurrent`'s.

    Raises InputError naming the flag whose value cannot be.
    """

    batch: int = 32
    steps: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    optimizer: str = "adam"
    lr: float = LEARNING_RATES["adam"]
    clip: float = 1.0
    dropout: float = 0.2
    gate_bias: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    threads: int = 1
    report_every: int | None = None

    def __post_init__(self) -> None:
        for name in COUNTS:
            value = getattr(self, name, None)
            fits = value is None or 1 <= value <= MAX_COUNT
            check(fits, f"--{name.replace('_', '-')} must be at least 1, got {value}")
        budget = [n for n in ("steps", "epochs", "seconds") if getattr(self, n) is not None]
        check(len(budget) == 1, f"give one of --steps, --epochs, --seconds, not {len(budget)}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        known = tuple(LEARNING_RATES)
        check(self.optimizer in known, f"--optimizer must be one of {known}, got {self.optimizer}")
        seconds_fit = self.seconds is None or (isfinite(self.seconds) and self.seconds > 0)
        check(seconds_fit, f"--seconds must be above 0, got {self.seconds}")
        check(isfinite(self.lr) and self.lr > 0, f"--lr must be above 0, got {self.lr}")
        check(isfinite(self.clip) and self.clip >= 0, f"--clip must be 0 or more, got {self.clip}")
        check(0 <= self.dropout < 1, f"--dropout must lie in [0, 1), got {self.dropout}")
        check(0 <= self.seed < 2**63, f"--seed must lie in [0, 2^63), got {self.seed}")
        check(1 <= self.threads <= 1024, f"--threads must lie in 1..1024, got {self.threads}")
        for gate, value in self.gate_bias.items():
            check(isfinite(value), f"--gate-bias {gate} must be a finite number, got {value}")


@dataclass(frozen=True, kw_only=True)
class Settings(LoopSettings):
    """The settings of a run on a text.

    ``holdout`` is the share of the text, at its end, that is only validated on. Reports are once
    an epoch, but at least 100 steps apart, where ``report_every`` is None.
    """

    seq_len: int = 35
    holdout: float = 0.1

    def _check_numbers(self) -> None:
        super()._check_numbers()
        check(0 <= self.holdout < 1, f"--holdout must lie in [0, 1), got {self.holdout}")


@dataclass(kw_only=True)
class Place:
    """The place of a run. A chunk is one step's worth of data; ``loss_*`` sum since a report."""

    step: int = 0
    epoch: int = 0
    chunk: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int | None = None

    def __post_init__(self) -> None:
        held = vars(self).items()
        counts = [v for _, v in held if isinstance(v, int)]
        check(all(0 <= n <= MAX_COUNT for n in counts), "the progress holds a negative count")
        numbers = [v for _, v in held if isinstance(v, float)]
        check(all(isfinite(n) and n >= 0 for n in numbers), "the progress holds a negative number")


@dataclass(kw_only=True)
class Progress(Place):
    """The place of a run on a text: an epoch begins ``offset`` symbols after its beginning."""

    offset: int = 0
    best_bits: float | None = None
