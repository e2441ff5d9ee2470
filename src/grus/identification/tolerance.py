"""How far a right answer may be off, and how easily a wrong one comes as near.

**Tolerance.** Three things part a right hypothesis from y, and each is measured or known:

1. y was written with so many decimals: half a unit of the last one.
2. Whoever made y rounded every operation, in float32 unless y shows float64; and weights that
   were printed with some decimals were rounded to these. How much that moves y depends on the
   network (one that amplifies rounding does so to all), so it is measured on the hypothesis
   itself: `RUNS` runs in that arithmetic, each with every number given moved up or down by a unit
   roundoff and half a printed decimal, against the run in float64. What they differ by scatters;
   `SCATTERS` times its root mean square is allowed, at most `WOBBLE` of the size of y: a network
   that turns rounding into more decides nothing.
3. y itself is a number of that arithmetic: `PLACES` units in the last place.

**Odds.** Were y numbers between -1 and 1 that have nothing to do with these weights (the states
of a tanh cell lie there), then one hypothesis would come within the tolerance t of one of them
with probability t at most, and of all m of them with probability t^m. With n hypotheses the odds
of a chance hit are n t^m at most. A fit whose odds are above `SURE` is not called a match; up to
`LIKELY` it is told as what fits to the digits given, with its odds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.identification.given import Stacked, Weights
from grus.identification.hypotheses import Try, Weighted

Array = Any
RUNS = 8
SCATTERS = 6.0
WOBBLE = 1e-3
PLACES = 8.0
SURE = 0.01
LIKELY = 0.1


@dataclass(frozen=True, eq=False)
class Digits:
    """How precisely the example was given."""

    unit: float
    """The unit roundoff of the arithmetic that made y."""
    digits: int | None
    """The decimals of y, where it was written in decimals."""

    @property
    def half(self) -> float:
        """Half a unit of the last decimal of y."""
        return 0.0 if self.digits is None else 0.5 * 10.0**-self.digits

    @property
    def dtype(self) -> Any:
        """The arithmetic: float64 where the numbers show it, else float32."""
        return np.float64 if self.unit < 2.0**-30 else np.float32


def tolerance(trial: Try, precision: Digits, measured: bool = True) -> float:
    """The tolerance for this trial, as the page above derives it.

    Not ``measured``: the most that it could be, for what is further off than that anyway.
    """
    size = max(1.0, float(np.abs(trial.view.y).max()))
    allowed = WOBBLE * size
    if measured:
        scatter = SCATTERS * _scatter(trial, precision)
        allowed = min(scatter, allowed) if np.isfinite(scatter) else 0.0
    return precision.half + allowed + PLACES * precision.unit * size


def _scatter(trial: Try, precision: Digits) -> float:
    """The root mean square of what runs with moved numbers differ by."""
    rng = np.random.default_rng(0)
    function, view = trial.function, trial.view
    dtype, unit = precision.dtype, precision.unit
    stack = Stacked.of([_moved(function, unit, rng) for _ in range(RUNS)], function.hidden, dtype)
    x = np.stack([_shaken(view.x, unit, 0.0, rng) for _ in range(RUNS)], axis=1)
    start = view.start and tuple(
        np.stack([_shaken(one, unit, 0.0, rng) for _ in range(RUNS)]) for one in view.start
    )
    found = stack.run(function.cell, x, start, dtype)
    moved = found if view.y.ndim == 3 else found[:, -1]
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(moved - trial.outputs()).reshape(RUNS, -1).max(axis=1)
        return float(np.sqrt(np.mean(np.square(off))))


def _moved(function: Weighted, unit: float, rng: np.random.Generator) -> Weights:
    """The weights, each moved up or down by what it may be off."""
    fit = function.hypotheses[0].fit
    arrays = [_shaken(one.array, unit, one.half, rng) for one in fit.given]
    return fit.weights(function.cell, fit.cut(arrays))


def _shaken(array: Array, unit: float, half: float, rng: np.random.Generator) -> Array:
    """Numbers moved by a unit roundoff and ``half``, up or down; 0 stays 0."""
    size = np.abs(array) * unit + half * (array != 0)
    return array + size * rng.choice((-1.0, 1.0), array.shape)


def odds(trials: int, tolerance: float, count: int) -> float:
    """The odds that one of so many trials hits ``count`` unrelated numbers."""
    log = np.log(trials) + count * np.log(min(tolerance, 1.0))
    return float(np.exp(min(log, 0.0)))
