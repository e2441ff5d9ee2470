"""Learning curves: a loss over the steps of training, several seeds as median and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError
from grus.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, np.dtype[Any]]
Seed = tuple[Sequence[float] | Array, Sequence[float] | Array]
MARKS = 10  # markers along a line


def learning_curves(
    curves: Mapping[str, Sequence[Seed]],
    *,
    ax: Axes | None = None,
    x: str = "step",
    y: str = "loss",
    log: bool = False,
    title: str = "Learning curves",
) -> Axes:
    """Each label's median over its seeds, and a band from the lowest to the highest of them.

    ``curves`` maps a label to its seeds, each a pair of steps and losses of equal length; steps go
    up. Seeds that were measured at other steps are read between theirs along straight lines, as far
    as all of them go. ``x`` and ``y`` name the axes with their units ("step", "loss, nats per
    character"). Losses that are not finite leave a gap. Returns the axes.

    Raises InputError where there is nothing to draw, or steps and losses do not fit.
    """
    if not curves:
        raise InputError("there are no learning curves to draw")
    joined = {label: together(label, seeds) for label, seeds in curves.items()}
    ax = style.axes(ax, 8.0, 4.4)
    for k, (label, (steps, losses)) in enumerate(joined.items()):
        seeds = f" ({len(losses)} seeds)" if len(losses) > 1 else ""
        look = style.series(k) | {"markevery": max(1, len(steps) // MARKS), "markersize": 5}
        ax.plot(steps, median(losses), label=f"{label}{seeds}", linewidth=1.8, **look)
        if len(losses) > 1:
            low, high = losses.min(axis=0), losses.max(axis=0)
            ax.fill_between(steps, low, high, color=look["color"], alpha=0.18, linewidth=0)
    style.plain(ax)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, loc="left", fontsize=12)
    several = any(len(losses) > 1 for _, losses in joined.values())
    style.legend(ax, "median, lowest to highest" if several else None)
    return ax


def median(losses: Array) -> Array:
    """The median over seeds [seed, step]; NaN where a seed has none, without a warning."""
    found: Array = np.median(losses, axis=0)
    return found


def together(label: str, seeds: Sequence[Seed]) -> tuple[Array, Array]:
    """All seeds at the same steps: steps [step] and losses [seed, step], float64."""
    if not len(seeds):
        raise InputError(f"{label}: there is no seed to draw")
    pairs = [_checked(label, *seed) for seed in seeds]
    first = max(steps[0] for steps, _ in pairs)
    last = min(steps[-1] for steps, _ in pairs)
    steps = np.unique(np.concatenate([s for s, _ in pairs]))
    steps = steps[(steps >= first) & (steps <= last)]
    if not len(steps):
        raise InputError(f"{label}: its seeds have no steps in common")
    return steps, np.stack([np.interp(steps, s, values) for s, values in pairs])


def _checked(label: str, steps: Any, losses: Any) -> tuple[Array, Array]:
    found = np.asarray(steps, np.float64), np.array(losses, np.float64)
    if found[0].ndim != 1 or found[0].shape != found[1].shape or not len(found[0]):
        raise InputError(
            f"{label}: steps and losses must be two lists of one length, got shapes"
            f" {found[0].shape} and {found[1].shape}"
        )
    if not (np.diff(found[0]) > 0).all():
        raise InputError(f"{label}: steps must go up")
    found[1][~np.isfinite(found[1])] = np.nan
    return found
