"""Figures of single units: saturation of gates, half-lives, norms of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.equations.text import counted
from grus.errors import InputError
from grus.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from grus.traces import Measures


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
    shares = measures.saturation()
    if not shares:
        raise InputError(f"cell {measures.cell.name} has no gates that could be saturated")
    ax = style.axes(ax, 6.5, 4.0)
    for k, (label, (left, right)) in enumerate(shares.items()):
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
    x, y = "share of the time open (above 0.9)", "share of the time shut (below 0.1)"
    style.name(ax, x, y, title)
    style.legend(ax, "one point a unit")
    return ax


Array = np.ndarray[Any, np.dtype[Any]]
PER_OCTAVE = 2  # bins for each doubling
SHORTEST, LONGEST = 0.25, 2.0**20  # steps; what is beyond stands in the first and last bin


def half_lives(
    lives: Measures | Mapping[str, Sequence[float] | Array],
    *,
    ax: Axes | None = None,
    title: str = "Memory half-life of the units",
) -> Axes:
    """A histogram of the units' half-lives, in steps, on a scale of doublings.

    ``lives`` is what `traces.measures.measures` found, or maps a label ("layer 0") to its units'
    half-lives: the steps after which half of a state is left, ``ln 2 / -mean(ln kept)``. Infinite
    ones (a unit that keeps all) and those beyond the axis stand in the bin at its end. NaN is left
    out and counted in the key. Medians are marked on the axis. Returns the axes.

    Raises InputError where there is no half-life, or a negative one.
    """
    by_label = lives if isinstance(lives, Mapping) else lives.half_lives()
    checked = {label: _checked(label, values) for label, values in by_label.items()}
    every = np.concatenate([v[~np.isnan(v)] for v in checked.values()] or [np.empty(0)])
    if not len(every):
        raise InputError("there are no half-lives to draw")
    ax = style.axes(ax, 8.0, 4.0)
    edges = _edges(every)
    last = 0.0
    for k, (label, values) in enumerate(checked.items()):
        known = values[~np.isnan(values)]
        count, _ = np.histogram(np.clip(known, edges[0], edges[-1]), edges)
        look = {"color": style.COLOURS[k % 6], "linestyle": style.DASHES[k % 6]}
        ax.stairs(count, edges, fill=True, color=look["color"], alpha=0.25 / len(checked) + 0.05)
        middle = float(np.median(known)) if len(known) else np.nan
        ax.stairs(count, edges, label=_label(label, values, middle), linewidth=1.8, **look)
        if np.isfinite(middle):
            at = float(np.clip(middle, edges[0], edges[-1]))
            ax.plot([at], [0], marker="^", color=look["color"], markersize=10, clip_on=False)
        last = max(last, float(count.max()))
    _scale(ax, edges, last, every)
    style.name(ax, "half-life, steps", "units", title)
    style.legend(ax, "▲ median")
    return ax


def _checked(label: str, values: Any) -> Array:
    numbers = np.asarray(values, np.float64).ravel()
    if (numbers < 0).any():
        raise InputError(f"{label}: a half-life cannot be negative, got {numbers.min()}")
    return numbers


def _edges(every: Array) -> Array:
    """Bins of half a doubling around all values."""
    inside = np.clip(every, SHORTEST, LONGEST)
    finite = inside[np.isfinite(every)]
    low = np.floor(np.log2(finite.min())) if len(finite) else 0.0
    high = np.ceil(np.log2(finite.max()) + 1e-9) if len(finite) else 1.0
    high = max(high, low + 1) + bool(np.isinf(every).any())
    return np.asarray(2.0 ** np.linspace(low, high, int(high - low) * PER_OCTAVE + 1))


def _label(label: str, values: Array, middle: float) -> str:
    known = values[~np.isnan(values)]
    without = len(values) - len(known)
    text = f"{label}: {counted(len(known), 'unit')}, median {middle:.3g} steps"
    endless = int(np.isinf(known).sum())
    text += f"\n{endless} without end" if endless else ""
    return text + (f"\n{without} unknown" if without else "")


def _scale(ax: Axes, edges: Array, most: float, lives: Array) -> None:
    """Doublings along x, whole units up."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    ax.set_xscale("log", base=2)
    style.plain(ax)
    every = max(1, round(np.log2(edges[-1] / edges[0]) / 10))
    ticks = edges[:: -PER_OCTAVE * every][::-1]
    labels = [f"{tick:g}" for tick in ticks]
    if lives.min() < edges[0]:
        labels[0] = f"≤ {labels[0]}"
    if np.isinf(lives).any() and ticks[-1] == edges[-1]:
        labels[-1] = "∞"
    ax.set_xticks(ticks, labels)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, most * 1.08)


def state_norms(
    measures: Measures, *, ax: Axes | None = None, title: str = "Norm of the state"
) -> Axes:
    """The Euclidean norm of each layer's state after each recorded step, the mean over the rows.

    The key says how many units are dead. Returns the axes. Raises InputError where no state was
    recorded.
    """
    states = measures.norms()
    if not states:
        raise InputError(f"no state of the cell {measures.cell.name} was recorded")
    ax = style.axes(ax, 7.0, 4.0)
    steps = np.asarray(measures.steps)
    every = max(1, len(steps) // 8)
    for k, (label, (norms, dead, units)) in enumerate(states.items()):
        key = f"{label}: {dead} of {counted(units, 'unit')} dead"
        ax.plot(steps, norms, label=key, markevery=every, markersize=5, **style.series(k))
    style.plain(ax)
    ax.set_ylim(bottom=0)
    style.name(ax, "step", "norm of the state", title)
    style.legend(ax)
    return ax
