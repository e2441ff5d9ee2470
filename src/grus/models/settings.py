"""How to train: one frozen dataclass whose fields are the flags of `grus train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from grus.models.fields import check

LEARNING_RATES = {"adam": 0.002, "sgd": 1.0}
MAX_COUNT = 2**53  # whole numbers stay exact in JSON up to here


@dataclass(frozen=True)
class Settings:
    """A training run's settings; exactly one of ``steps``, ``epochs``, ``seconds`` is its budget.

    ``clip`` bounds the norm of all gradients together, 0 does not clip. ``holdout`` is the share
    of the text, at its end, that is only validated on. ``report_every`` is in steps; None is once
    an epoch but at least 100 steps apart. ``gate_bias`` is `grus.Recurrent`'s.

    Raises InputError naming the flag whose value cannot be.
    """

    seq_len: int = 35
    batch: int = 32
    steps: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    optimizer: str = "adam"
    lr: float = LEARNING_RATES["adam"]
    clip: float = 1.0
    dropout: float = 0.2
    gate_bias: dict[str, float] = field(default_factory=dict)
    holdout: float = 0.1
    seed: int = 0
    threads: int = 1
    report_every: int | None = None

    def __post_init__(self) -> None:
        for name in ("seq_len", "batch", "steps", "epochs", "report_every"):
            value = getattr(self, name)
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
        check(0 <= self.holdout < 1, f"--holdout must lie in [0, 1), got {self.holdout}")
        check(0 <= self.seed < 2**63, f"--seed must lie in [0, 2^63), got {self.seed}")
        check(1 <= self.threads <= 1024, f"--threads must lie in 1..1024, got {self.threads}")
        for gate, value in self.gate_bias.items():
            check(isfinite(value), f"--gate-bias {gate} must be a finite number, got {value}")


@dataclass
class Progress:
    """How far a run is. A chunk is one step's worth of text; ``loss_*`` sum since a report."""

    step: int = 0
    epoch: int = 0
    chunk: int = 0
    offset: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_bits: float | None = None
    best_step: int | None = None

    def __post_init__(self) -> None:
        counts = (self.step, self.epoch, self.chunk, self.offset, self.loss_steps)
        check(all(0 <= n <= MAX_COUNT for n in counts), "the progress holds a negative count")
        numbers = (self.seconds, self.loss_sum, self.best_bits or 0.0)
        check(all(isfinite(n) and n >= 0 for n in numbers), "the progress holds a negative number")
