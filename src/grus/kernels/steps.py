"""How a sequence is stepped through: what one call's forward and backward must agree on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Narrow = Literal["", "weights", "products"]
"""What is bfloat16 in products: nothing; the weights, widened to float32 where they are read; both
factors of a product, whose sums are float32."""
SHORTEST = 16
"""Steps of a window below which calls, not steps, would cost the time."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Beside x, the initial state and the weights, all that says how a sequence runs.

    ``lengths`` [batch] int64, 0 to T, any order; None: every row has T steps.
    ``resets`` [time, batch] bool: this step begins with the state at zero, or at the initial
    state with ``reset_to="h0"``, in every term. ``reverse`` begins at each row's last valid step.
    ``seed`` draws the cell's own random masks; None leaves them off. ``recompute`` keeps the
    states at a few steps only and runs the steps between them again in backward. ``first`` is the
    time of the first step, where the sequence is a piece of a longer one (masks depend on it).
    ``narrow``: what is bfloat16, in a forward call that keeps nothing.
    """

    lengths: Array | None = None
    resets: Array | None = None
    reset_to: Literal["zero", "h0"] = "zero"
    reverse: bool = False
    seed: int | None = None
    recompute: bool = False
    first: int = 0
    narrow: Narrow = ""


PLAIN = Steps()
"""All rows of one length, no resets, forward in time."""


def windows(steps: Steps, time: int) -> list[tuple[int, int]]:
    """First step and end of each window, in the order in which they are run."""
    size = max(SHORTEST, math.isqrt(max(time - 1, 0)) + 1)
    pieces = [(first, min(first + size, time)) for first in range(0, time, size)]
    return pieces[::-1] if steps.reverse else pieces


def part(steps: Steps, first: int, end: int) -> Steps:
    """The steps of one window."""
    lengths = steps.lengths
    return replace(
        steps,
        lengths=None if lengths is None else np.clip(lengths - first, 0, end - first),
        resets=None if steps.resets is None else steps.resets[first:end],
        first=steps.first + first,
        recompute=False,
    )
