"""How long the gates of each unit stand at an end: a point a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError
from grus.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from grus.traces.measures import Measures

EDGE = 0.03  # of the axis, so that points at 0 and 1 are seen whole


def saturation(
    measures: Measures, *, ax: Axes | None = None, title: str = "Saturated gates"
) -> Axes:
    """The share of the time that each unit's gate is open (right saturated, above 0.9) against
    the share that it is shut (left saturated, below 0.1), as in Karpathy, Johnson & Li (2015, arXiv
    1506.02078, figure 2).

    A unit at the origin uses its gate as a soft mixture, one at the top is always shut, one at the
    right always open; none can be beyond the diagonal. Returns the axes. Raises InputError for a
    cell without gates.
    """
    found = measures.saturation()
    if not found:
        raise InputError(f"cell {measures.cell.name} has no gates that could be saturated")
    ax = style.axes(ax, 6.5, 4.0)
    for k, (label, (left, right)) in enumerate(found.items()):
        look: dict[str, Any] = {n: v for n, v in style.series(k).items() if n != "linestyle"}
        ax.scatter(right, left, s=26, alpha=0.65, linewidths=0, label=label, **look)
    ax.plot([0, 1], [1, 0], color=style.GREY, linewidth=1, linestyle=(0, (2, 3)))
    style.plain(ax)
    ax.set_aspect("equal", anchor="W")
    ax.set_xlim(-EDGE, 1 + EDGE)
    ax.set_ylim(-EDGE, 1 + EDGE)
    ticks = np.linspace(0, 1, 5)
    ax.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    ax.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    ax.set_xlabel("share of the time open (above 0.9)")
    ax.set_ylabel("share of the time shut (below 0.1)")
    ax.set_title(title, loc="left", fontsize=12)
    style.legend(ax, "one point a unit")
    return ax
