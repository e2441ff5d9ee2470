"""Many weights through one set of equations at once: the reference's step over a leading axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.equations import Cell, Weight
from grus.reference import NUMPY, Operations, step_values

Array = Any
MAX_AT_ONCE = 1 << 24  # numbers of weights that are stacked: 128 MiB of float64


def _matmul(w: Array, v: Array) -> Array:
    return v @ w.swapaxes(-1, -2)


MANY: Operations = replace(
    NUMPY, name="many", table={**NUMPY.table, "matmul": _matmul, "matmul_t": lambda w, v: v @ w}
)


Weights = Mapping[Weight, Array]


@dataclass(frozen=True, eq=False)
class Stack:
    """The weights of several functions, one above the other."""

    arrays: Weights
    """[functions, rows, columns]; vectors [functions, 1, axis], beside [functions, batch, axis]."""
    count: int
    hidden: int

    @classmethod
    def of(cls, weights: Sequence[Weights], hidden: int, dtype: Any = np.float64) -> Stack:
        """Stacked and rounded to ``dtype``."""
        arrays = {
            w: np.stack([one[w] if one[w].ndim == 2 else one[w][None] for one in weights])
            for w in weights[0]
        }
        rounded = {w: array.astype(dtype, copy=False) for w, array in arrays.items()}
        return cls(rounded, len(weights), hidden)

    def run(
        self, cell: Cell, x: Array, start: tuple[Array, ...] | None, dtype: Any = np.float64
    ) -> Array:
        """Outputs [functions, time, batch, hidden] of ``cell`` with each of the weights.

        ``x`` [time, batch, input] in the order of the steps, the states in ``start`` [batch,
        hidden]; or for each function its own, [time, functions, batch, input] and [functions,
        batch, hidden]. Every operation rounds to ``dtype``.
        """
        shape = (self.count, x.shape[-2], self.hidden)
        given = start or tuple(np.zeros(shape[1:]) for _ in cell.states)
        state = tuple(np.broadcast_to(one.astype(dtype), shape) for one in given)
        outputs = []
        # What is no match may overflow: its error is then infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            for now in x.astype(dtype):
                values = step_values(cell, self.arrays, {"x": now}, state, MANY)
                state = tuple(values[f"{name}_next"] for name in cell.states)
                outputs.append(values[cell.output])
        return np.stack(outputs, axis=1)


def chunks(weights: Sequence[Weights]) -> Iterator[Sequence[Weights]]:
    """As many at a time as may be stacked."""
    size = sum(array.size for array in weights[0].values())
    many = max(1, MAX_AT_ONCE // size)
    for k in range(0, len(weights), many):
        yield weights[k : k + many]
