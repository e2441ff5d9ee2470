"""Curves: losses over the steps of training, the gradient over the lags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

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
        look = style.line(k, len(steps), MARKS)
        ax.plot(steps, median(losses), label=f"{label}{seeds}", linewidth=1.8, **look)
        if len(losses) > 1:
            low, high = losses.min(axis=0), losses.max(axis=0)
            ax.fill_between(steps, low, high, color=look["color"], alpha=0.18, linewidth=0)
    style.plain(ax)
    if log:
        ax.set_yscale("log")
    style.name(ax, x, y, title)
    several = any(len(losses) > 1 for _, losses in joined.values())
    style.legend(ax, "median, lowest to highest" if several else None)
    return ax


def median(losses: Array) -> Array:
    """The median over seeds [seed, step]; NaN where a seed has none, without a warning."""
    return np.asarray(np.median(losses, axis=0))


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
    places, values = _two_lists(label, steps=steps, losses=losses)
    if not (np.diff(places) > 0).all():
        raise InputError(f"{label}: steps must go up")
    values[~np.isfinite(values)] = np.nan
    return places, values


def _two_lists(label: str, **lists: Any) -> tuple[Array, Array]:
    """Copies in float64 of two lists, which must have one length."""
    (x, first), (y, second) = ((n, np.array(v, np.float64)) for n, v in lists.items())
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise InputError(
            f"{label}: {x} and {y} must be two lists of one length, got shapes {first.shape} and"
            f" {second.shape}"
        )
    return first, second


FAR = 1e3  # a thousand times smaller or larger than at lag 0
ENDS = (1e-300, 1e300)  # of the axis, as shares of lag 0: as far as float64 goes, and some room


class FlowLike(Protocol):
    """Lags k [lag] and the norm of d(loss at t)/d(h at t-k) for each."""

    @property
    def lags(self) -> Any:
        """Steps back, from 0 up."""

    @property
    def norms(self) -> Any:
        """The norm at each lag."""


def gradient_flow(
    flows: Mapping[str, FlowLike], *, ax: Axes | None = None, title: str = "Gradient flow"
) -> Axes:
    """The norm of d(loss at t)/d(h at t-k) against k, as a share of the first; log scale.

    ``flows`` maps a label to ``lags`` and ``norms`` (`traces.flow.gradient_flow`, or anything with
    these two). Below a thousandth the gradient is marked as vanishing, above a thousand times as
    exploding, and where a curve first enters one of them it has a cross. Zeros and what overflowed
    are drawn at the axis' ends; a curve whose first norm is 0 is not drawn, and the key says so.
    Returns the axes.

    Raises InputError where there is nothing to draw, or a first norm is negative or not a number.
    """
    if not flows:
        raise InputError("there is no gradient flow to draw")
    norms = {label: _norms(label, flow) for label, flow in flows.items()}
    shares = {
        label: (lags, values / values[0]) for label, (lags, values) in norms.items() if values[0]
    }
    if not shares:
        raise InputError(f"{', '.join(norms)}: the norm at the first lag must be positive, got 0.0")
    ax = style.axes(ax, 8.0, 4.4)
    low, high = _ends([share for _, share in shares.values()])
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    for k, (label, (lags, share)) in enumerate(shares.items()):
        look = style.line(k, len(lags), MARKS)
        drawn = np.clip(np.nan_to_num(share, nan=high, posinf=high), low, high)
        ax.plot(lags, drawn, label=f"{label}{_crossing(lags, share)}", linewidth=1.8, **look)
        far = np.flatnonzero((share < 1 / FAR) | ~(share <= FAR))[:1]
        ax.plot(lags[far], drawn[far], "x", color=look["color"], markersize=11, markeredgewidth=2.5)
    for label in [label for label in norms if label not in shares]:
        ax.plot([], [], " ", label=f"{label}\nnothing at lag 0")
    _zones(ax, low, high)
    ax.set_xlim(min(lags[0] for lags, _ in shares.values()), None)
    y = "norm of d loss(t) / d h(t-k),\nas a share of that at lag 0"
    style.name(ax, "lag k, steps back", y, title)
    style.legend(ax)
    return ax


def _norms(label: str, flow: FlowLike) -> tuple[Array, Array]:
    lags, norms = _two_lists(label, lags=flow.lags, norms=flow.norms)
    if not (np.isfinite(norms[0]) and norms[0] >= 0):
        raise InputError(f"{label}: the norm at the first lag must be positive, got {norms[0]}")
    return lags, norms


def _ends(shares: Sequence[Array]) -> tuple[float, float]:
    """The axis' ends: all that is finite and positive, and some of both zones."""
    every = np.concatenate(shares)
    inside = every[np.isfinite(every) & (every > 0)]
    low = max(ENDS[0], min(float(inside.min()), 1 / FAR) / 30)
    return low, max(min(float(inside.max()), ENDS[1] / 10), 3.0) * 10


def _crossing(lags: Array, share: Array) -> str:
    """In words for the key: where the curve first enters a zone."""
    gone = np.flatnonzero(share < 1 / FAR)
    burst = np.flatnonzero(~(share <= FAR))
    if len(burst) and (not len(gone) or burst[0] < gone[0]):
        return f"\nexplodes at lag {lags[burst[0]]:g}"
    return f"\nvanishes at lag {lags[gone[0]]:g}" if len(gone) else ""


def _zones(ax: Axes, low: float, high: float) -> None:
    """Shade what has vanished or exploded, and say so."""
    style.plain(ax)
    ax.axhline(1.0, color=style.GREY, linewidth=1, linestyle=":")
    zones = [("vanishing: below 1/1000", low, 1 / FAR)]
    if high > FAR:
        zones.append(("exploding: above 1000", FAR, high))
    for label, bottom, top in zones:
        ax.axhspan(bottom, top, color=style.PALE, zorder=0)
        # At the left, where every curve is still near 1.
        at, side = (bottom, "bottom") if top <= 1 else (top, "top")
        look: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "color": style.GREY}
        ax.text(0.01, at, label, va=side, fontsize=style.SMALL, **look)
