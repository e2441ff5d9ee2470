"""Small traces whose every value is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from grus.equations import CELLS, Cell
from grus.traces import Trace


def trace(
    steps: int = 6,
    units: int = 5,
    *,
    cell: Cell = CELLS["gru"],
    names: tuple[str, ...] = ("r", "z", "h"),
    rows: int = 1,
    layers: int = 1,
    directions: int = 1,
    tokens: tuple[str, ...] | None = None,
    **changes: Any,
) -> Trace:
    """Values between 0 and 1 that all differ: layer, direction, step, row and unit can be told."""
    shape = (layers, directions, steps, rows, units)
    count = int(np.prod(shape))
    values = {
        name: ((np.arange(count) + k / len(names)) / count).reshape(shape)
        for k, name in enumerate(names)
    }
    arguments: dict[str, Any] = {
        "cell": cell,
        "values": values,
        "start": {},
        "layers": range(layers),
        "directions": range(directions),
        "steps": range(steps),
        "units": range(units),
        "lengths": [steps] * rows,
        "tokens": tokens,
    }
    arguments |= changes
    for name in ("layers", "directions", "steps", "units", "lengths"):
        arguments[name] = np.asarray(list(arguments[name]), np.int64)
    return Trace(**arguments)
