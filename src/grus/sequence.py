"""`grus.run`: a sequence over NumPy arrays, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grus import kernels, reference
from grus.equations import Cell, cell as find_cell
from grus.kernels import Result
from grus.kernels.backend import backend

Array = np.ndarray[Any, np.dtype[Any]]


def run(
    cell: str | Cell | type[Cell],
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> Result:
    """Run a cell over ``x`` [time, batch, input], float32 or float64, in its dtype.

    ``cell`` is whatever `grus.cell` takes; ``weights`` maps its families to stacked arrays (for
    the GRU W [3H, I], U [3H, H], b [3H], d [H], gates in the order r, z, n); ``h0`` [batch,
    hidden], a tuple of them for a cell with several states, defaults to zeros. ``reverse`` runs
    from the last step to the first. ``threads`` caps the threads. An empty sequence gives h0.

    The kernels run, or the reference if GRUS_BACKEND=reference. Raises InputError naming the
    argument whose shape or dtype cannot be.
    """
    found = find_cell(cell)
    if backend() == "kernels":
        return kernels.run(found, weights, x, h0, reverse=reverse, threads=threads)
    x, weights, start = kernels.check(found, weights, x, h0)
    slow = reference.run(found, weights, x, start, reverse=reverse)
    return Result(slow.output.astype(x.dtype), tuple(s.astype(x.dtype) for s in slow.state))
