"""Series with missing values: GRU-D beside GRUs that fill them in, at equal parameters.

    python benchmarks/missing_values.py ETTh1.csv [--steps 1500] [--seeds 5]

ETTh1's seven variables, standardised, the first 60 % for training, 20 % for choosing the rate and
the best step, 20 % for the test. Each variable is now there, now missing: with every hour it goes
or comes back with probability 0.1, so half of the values are missing, 10 hours at a time. A model
reads 48 hours and predicts all seven values of the next one; the score is the mean squared error.

- filled forward: a GRU over the last values seen (0, the mean, before the first)
- filled, told so: the same with the mask and the hours since as further columns of x
- GRU-D: `grus.Recurrent("gru_d", ...)`, whose values and state decay with the hours since
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import grus
from grus.comparison import nearest_size

HOURS, CHANGE, BATCH, UNITS = 48, 0.1, 64, 32
RATES = (3e-3, 1e-2)
EVERY = 100
"""Steps between looks at the held-out part."""
Array = np.ndarray[Any, np.dtype[Any]]


class Series:
    """Values [hour, variable], which of them are there, the last one seen, the hours since."""

    def __init__(self, values: Array, rng: np.random.Generator) -> None:
        there = np.cumsum(rng.random(values.shape) < CHANGE, axis=0) % 2 == 0
        hour = np.arange(len(values))[:, None]
        seen = np.maximum.accumulate(np.where(there, hour, -1), axis=0)
        before = np.concatenate([np.full_like(seen[:1], -1), seen[:-1]])
        filled = np.where(seen < 0, 0.0, np.take_along_axis(values, np.maximum(seen, 0), axis=0))
        # The hours since a value was last seen, before this hour is looked at; a window's first
        # hours may count from before it.
        since = np.minimum(hour - before, HOURS) / HOURS
        every = (values, np.where(there, values, 0.0), filled, there, since)
        self.values, self.x, self.filled, self.mask, self.delta = (
            torch.from_numpy(a.astype(np.float32)) for a in every
        )

    def windows(self, starts: Array) -> tuple[dict[str, Tensor], Tensor]:
        """The columns [hour, window, variable] from these hours on, and the values after them."""
        at = torch.from_numpy(starts + np.arange(HOURS)[:, None])
        parts = {name: getattr(self, name)[at] for name in ("x", "filled", "mask", "delta")}
        return parts, self.values[torch.from_numpy(starts + HOURS)]


class Model(nn.Module):
    """A layer, and the next values from its last output."""

    def __init__(self, name: str, hidden: int, variables: int) -> None:
        super().__init__()
        self.kind = name
        self.layer: Any
        if name == "GRU-D":
            self.layer = grus.Recurrent("gru_d", variables, hidden)
        else:
            columns = 3 if name == "filled, told so" else 1
            self.layer = grus.GRU(columns * variables, hidden)
        self.out = nn.Linear(hidden, variables)

    def forward(self, parts: dict[str, Tensor]) -> Tensor:
        """The values [window, variable] of the next hour."""
        if self.kind == "GRU-D":
            output, _ = self.layer(parts["x"], mask=parts["mask"], delta=parts["delta"])
        elif self.kind == "filled forward":
            output, _ = self.layer(parts["filled"])
        else:
            together = [parts["filled"], parts["mask"], parts["delta"]]
            output, _ = self.layer(torch.cat(together, dim=2))
        return self.out(output[-1])  # type: ignore[no-any-return]


def error(model: Model, series: Series, hours: range) -> float:
    """The mean squared error over all windows that end within the hours."""
    starts = np.arange(hours.start, hours.stop - HOURS)
    total = 0.0
    with torch.no_grad():
        for part in np.array_split(starts, 1 + len(starts) // 1024):
            columns, wanted = series.windows(part)
            total += float(functional.mse_loss(model(columns), wanted, reduction="sum"))
    return total / (len(starts) * series.values.shape[1])


def trained(
    name: str, hidden: int, series: Series, parts: list[range], seed: int, steps: int
) -> tuple[float, float]:
    """(held-out, test) error at the step and the rate that are best held out."""
    best = (float("inf"), float("inf"))
    for rate in RATES:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        model = Model(name, hidden, series.values.shape[1])
        optimizer = torch.optim.Adam(model.parameters(), rate)
        for step in range(1, steps + 1):
            starts = rng.integers(0, parts[0].stop - HOURS, BATCH)
            columns, wanted = series.windows(starts)
            optimizer.zero_grad()
            functional.mse_loss(model(columns), wanted).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % EVERY == 0:
                best = min(best, (error(model, series, parts[1]), error(model, series, parts[2])))
    return best


def main() -> None:
    """Train each model with each seed, whose mask is the same for all; print errors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    table = np.genfromtxt(asked.table, delimiter=",", skip_header=1)[:, 1:]
    cuts = [int(len(table) * share) for share in (0.6, 0.8, 1.0)]
    table = (table - table[: cuts[0]].mean(0)) / table[: cuts[0]].std(0)
    parts = [range(cuts[0]), range(cuts[0], cuts[1]), range(cuts[1], cuts[2])]
    variables = table.shape[1]

    def size(name: str, hidden: int) -> int:
        return sum(p.numel() for p in Model(name, hidden, variables).parameters())

    budget = size("GRU-D", UNITS)
    for name in ("filled forward", "filled, told so", "GRU-D"):
        hidden = nearest_size(lambda units, name=name: size(name, units), budget)
        begun, errors = time.perf_counter(), []
        for seed in range(asked.seeds):
            series = Series(table, np.random.default_rng(1000 + seed))
            errors.append(trained(name, hidden, series, parts, seed, asked.steps)[1])
        spread = statistics.stdev(errors) if len(errors) > 1 else 0.0
        each = " ".join(f"{e:.4f}" for e in errors)
        print(
            f"{name:16} {hidden:3} units {size(name, hidden):6,} parameters"
            f"  {statistics.mean(errors):.4f} +- {spread:.4f}  ({each})"
            f"  {time.perf_counter() - begun:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
