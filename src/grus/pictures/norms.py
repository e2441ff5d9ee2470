"""How large a layer's state is, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grus.equations.text import counted
from grus.errors import InputError
from grus.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from grus.traces.measures import Measures


def state_norms(
    measures: Measures, *, ax: Axes | None = None, title: str = "Norm of the state"
) -> Axes:
    """The Euclidean norm of each layer's state after each recorded step, the mean over the rows.

    The key says how many units are dead. Returns the axes. Raises InputError where no state was
    recorded.
    """
    found = measures.norms()
    if not found:
        raise InputError(f"no state of the cell {measures.cell.name} was recorded")
    ax = style.axes(ax, 7.0, 4.0)
    steps = np.asarray(measures.steps)
    every = max(1, len(steps) // 8)
    for k, (label, (norms, dead, units)) in enumerate(found.items()):
        said = f"{label}: {dead} of {counted(units, 'unit')} dead"
        ax.plot(steps, norms, label=said, markevery=every, markersize=5, **style.series(k))
    style.plain(ax)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("step")
    ax.set_ylabel("norm of the state")
    ax.set_title(title, loc="left", fontsize=12)
    style.legend(ax)
    return ax
