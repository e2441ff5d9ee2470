"""How a sequence is stepped through: what one call's forward and backward must agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Beside x, the initial state and the weights, all that says how a sequence runs.

    ``lengths`` [batch] int64, 0 to T, any order; None: every row has T steps.
    ``resets`` [time, batch] bool: this step begins with the state at zero, or at the initial
    state with ``reset_to="h0"``, in every term. ``reverse`` begins at each row's last valid step.
    ``seed`` draws the cell's own random masks; None leaves them off. ``recompute`` keeps the
    states at a few steps only and runs the steps between them again in backward.
    """

    lengths: Array | None = None
    resets: Array | None = None
    reset_to: Literal["zero", "h0"] = "zero"
    reverse: bool = False
    seed: int | None = None
    recompute: bool = False


PLAIN = Steps()
"""All rows of one length, no resets, forward in time."""
