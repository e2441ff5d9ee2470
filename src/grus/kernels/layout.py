"""What a training call keeps for its backward call, and where adjoints stand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.gradients import Backward, backward as derive
from grus.kernels.steps import PLAIN, Steps, windows

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Layout:
    """Which values a training call keeps, and where the adjoints of backward stand."""

    derived: Backward
    saved: tuple[str, ...]
    """Kept beside the output, in the order of the saved block."""
    adjoints: tuple[str, ...]
    """Columns of the adjoint block: what weight gradients and dx are products of."""
    sums: tuple[str, ...]


@lru_cache(maxsize=256)
def layout(cell: Cell) -> Layout:
    """The layout of a cell's training call."""
    derived = derive(cell)
    saved = tuple(n for n in derived.saved if n != cell.output)
    wanted = [w for w in derived.weights if w.operand is not None]
    order = {weight: k for k, weight in enumerate(cell.weights)}
    wanted.sort(key=lambda w: order[w.weight])
    names = [w.adjoint for w in wanted] + [name for _, name in derived.dx]
    sums = dict.fromkeys(w.adjoint for w in derived.weights if w.operand is None)
    return Layout(derived, saved, tuple(dict.fromkeys(names)), tuple(sums))


def saved_size(cell: Cell, sizes: tuple[int, int, int], steps: Steps = PLAIN) -> int:
    """How many numbers a training call keeps beside its output, for ``sizes`` (T, B, H)."""
    time, batch, hidden = sizes
    if steps.recompute:
        return len(windows(steps, time)) * len(cell.states) * batch * hidden
    valid = time * batch if steps.lengths is None else int(steps.lengths.sum())
    return len(layout(cell).saved) * valid * hidden


def views(
    cell: Cell, saved: Array, sizes: tuple[int, int, int], steps: Steps = PLAIN
) -> dict[str, Array]:
    """The kept values by name: [time, batch, hidden], or [valid steps, hidden] with lengths."""
    time, batch, hidden = sizes
    lead = (time, batch) if steps.lengths is None else (int(steps.lengths.sum()),)
    names = layout(cell).saved
    return dict(zip(names, saved.reshape(len(names), *lead, hidden), strict=True))
