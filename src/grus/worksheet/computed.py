"""The numbers of a worksheet: those that the kernels computed, or it is said that they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus import kernels, reference
from grus.equations import Cell
from grus.equations.axes import sizes
from grus.kernels import UnsupportedCellError
from grus.kernels.backend import VARIABLE, backend

Array = Any
States = tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Computed:
    """Every named value of every step of one sequence."""

    values: Mapping[str, Array]
    """Equation -> [time, unit], in time order."""
    start: States
    final: States
    by: str
    """What computed them, and in which dtype."""


def compute(
    cell: Cell, weights: Mapping[str, Array], x: Array, h0: States | None, reverse: bool
) -> Computed:
    """Run a cell over ``x`` [time, input], each of ``h0`` [size of its axis], in the dtype of x.

    The kernels run; where they are turned off or cannot run the cell, the reference in float64
    does, and ``by`` says why. Raises InputError as `kernels.values` does.
    """
    axes = sizes(cell, dict(weights), x.shape[1], batched(h0))
    zeros = tuple(np.zeros(axes[cell.shapes.states[s]]) for s in cell.states)
    batch = tuple(np.asarray(state, x.dtype)[None] for state in h0 or zeros)
    why = f"{VARIABLE}=reference or no executable memory"
    if backend() == "kernels":
        try:
            own = {family: np.asarray(w, x.dtype) for family, w in weights.items()}
            # One row on one thread: the bits do not depend on it, and no threads are looked for.
            values, final = kernels.values(cell, own, x[:, None], batch, reverse=reverse, threads=1)
            by = f"the compiled kernels in {x.dtype.name}"
            return _alone(values, batch, final, by)
        except UnsupportedCellError as error:
            why = str(error)
    slow = reference.run(cell, weights, x[:, None], batch, reverse=reverse)
    # Steps as they were taken: the last comes first where the direction is backward.
    taken = slow.values[::-1] if reverse else slow.values
    values = {name: np.stack([one[name] for one in taken]) for name, _ in cell}
    by = f"the slow reference in float64, not the kernels ({why})"
    return _alone(values, batch, slow.state, by)


def batched(h0: States | None) -> States | None:
    """States with the axis of a batch of one."""
    return h0 and tuple(np.asarray(state)[None] for state in h0)


def _alone(values: Mapping[str, Array], start: States, final: States, by: str) -> Computed:
    """Without the axis of the batch."""
    alone = {name: value[:, 0] for name, value in values.items()}
    return Computed(alone, tuple(s[0] for s in start), tuple(s[0] for s in final), by)
