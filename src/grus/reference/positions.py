"""What gathers over positions mean, on arrays [batch, *positions, axis]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from grus.arguments import check_graph
from grus.equations import Cell
from grus.reference.evaluate import NUMPY, Operations

Array = np.ndarray[Any, np.dtype[Any]]


def over_positions(cell: Cell, graph: Any, positions: Sequence[int]) -> Operations:
    """NumPy's operations with those that read other positions, whose numbers are ``positions``.

    ``graph`` is the matrix of ``neighbours``, [positions, positions], or a list of them. Raises
    InputError for a graph that does not fit.
    """
    several = graph if isinstance(graph, (list, tuple)) else [] if graph is None else [graph]
    matrices = [np.asarray(m.toarray() if hasattr(m, "toarray") else m) for m in several]
    check_graph(cell.name, [m.shape for m in matrices], cell.matrices, positions)
    if not cell.positions:
        return NUMPY

    def neighbours(v: Array, matrix: float = 0) -> Any:
        return matrices[int(matrix)].astype(v.dtype) @ v

    return replace(NUMPY, table={**NUMPY.table, "patches": patches, "neighbours": neighbours})


def patches(v: Array, *window: float) -> Array:
    """[..., *positions, channels] -> [..., *positions, channels * places under the window]."""
    sizes = tuple(map(int, window))
    first = v.ndim - 1 - len(sizes)
    edges = [(0, 0)] * first + [(size // 2, size // 2) for size in sizes] + [(0, 0)]
    axes = tuple(range(first, v.ndim - 1))
    views = np.lib.stride_tricks.sliding_window_view(np.pad(v, edges), sizes, axes)
    return views.reshape(*v.shape[:-1], -1)
