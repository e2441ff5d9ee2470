"""Measures of a trace: saturated gates, memory, resets, dead units, norms of states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import Cell, Const, Expr, Name, walk
from grus.equations.flat import gates
from grus.equations.text import show
from grus.errors import InputError
from grus.reference import evaluate
from grus.traces.parts import keeps, resets
from grus.traces.recorded import Trace

Array = np.ndarray[Any, np.dtype[Any]]
LEFT, RIGHT = 0.1, 0.9
"""A gate is left saturated below, right saturated above (Karpathy, Johnson & Li 2015)."""
DEAD = 0.01
"""The standard deviation of a state below which its unit counts as dead."""
WARM_UP = 0.1
"""The share of the steps, at the beginning, that is left out before dead units are looked for."""
HEAD = ("layer", "value", "mean", "left", "right", "reset", "half-life", "dead", "norm")


@dataclass(frozen=True, eq=False)
class Measures:
    """The measures of a trace; arrays are float64, [layer, direction, unit] unless said otherwise.

    Means and shares go over all recorded steps and rows. For each gate: ``mean``; ``left`` and
    ``right``, the share of the time below 0.1 and above 0.9 (Karpathy, Johnson & Li 2015, arXiv
    1506.02078). ``reset``: for each reset gate r the mean of 1 - r, how much of the state is shut
    out of the candidate.

    ``half_life``: for each state that a factor keeps unit by unit (``keep``: z, 1 - z, f), the
    steps after which half of it is left, ln 2 / -mean(ln factor); inf where nothing ever fades.
    It is that of the direct path alone: what comes back through the candidate is not in it.

    ``dead``: units whose state hardly moves, a standard deviation below 0.01 over steps and rows,
    the first tenth of the steps left out. ``norm``: [layer, direction, time], the Euclidean norm of
    the recorded units of a state after each step, the mean over the rows.
    """

    cell: Cell
    layers: Array
    directions: Array
    steps: Array
    units: Array
    mean: Mapping[str, Array]
    left: Mapping[str, Array]
    right: Mapping[str, Array]
    reset: Mapping[str, Array]
    keep: Mapping[str, str]
    half_life: Mapping[str, Array]
    dead: Mapping[str, Array]
    norm: Mapping[str, Array]

    def half_lives(self) -> dict[str, Array]:
        """Label ("layer 0 h") -> the half-lives of its units in steps, what a histogram draws."""
        return {
            f"{where} {state}" if len(self.half_life) > 1 else where: lives[at]
            for state, lives in self.half_life.items()
            for at, where in self._places()
        }

    def saturation(self) -> dict[str, tuple[Array, Array]]:
        """Label ("layer 0 z") -> the shares of the time, left and right, of each unit's gate."""
        return {
            f"{where} {name}": (self.left[name][at], self.right[name][at])
            for at, where in self._places()
            for name in self.left
        }

    def norms(self) -> dict[str, tuple[Array, int, int]]:
        """Label ("layer 0 h") -> norm of the state [time], dead units, units."""
        return {
            f"{where} {state}" if len(self.norm) > 1 else where: (
                norm[at],
                int(self.dead[state][at].sum()),
                self.dead[state].shape[-1],
            )
            for state, norm in self.norm.items()
            for at, where in self._places()
        }

    def table(self) -> list[tuple[str, ...]]:
        """Rows of text under `HEAD`, one for each gate and each state of each layer."""
        rows = []
        for at, where in self._places():
            for name in self.mean:
                shares = (self.mean[name][at].mean(), self.left[name][at], self.right[name][at])
                reset = _number(self.reset[name][at].mean()) if name in self.reset else "-"
                texts = (f"{shares[0]:.2f}", *(f"{np.mean(share):.0%}" for share in shares[1:]))
                rows.append((where, name, *texts, reset, "-", "-", "-"))
            for name, norm in self.norm.items():
                lives = _lives(self.half_life[name][at]) if name in self.half_life else "-"
                dead = f"{int(self.dead[name][at].sum())} of {self.dead[name].shape[-1]}"
                rows.append((where, name, *"----", lives, dead, f"{np.nanmean(norm[at]):.2f}"))
        return rows

    def json(self) -> dict[str, Any]:
        """Everything, in lists and numbers; null for a half-life without end and for NaN."""
        content: dict[str, Any] = {
            "cell": {"name": self.cell.name, "equations": str(self.cell).splitlines()},
            "axes": ["layer", "direction", "unit"],
            "thresholds": {"left": LEFT, "right": RIGHT, "dead": DEAD, "warm_up": WARM_UP},
            "keep": dict(self.keep),
        }
        for name in ("layers", "directions", "steps", "units"):
            content[name] = getattr(self, name).tolist()
        for name in ("mean", "left", "right", "reset", "half_life", "dead", "norm"):
            content[name] = {key: _plain(array) for key, array in getattr(self, name).items()}
        return content

    def _places(self) -> Iterator[tuple[tuple[int, int], str]]:
        for k, layer in enumerate(self.layers):
            for d, direction in enumerate(self.directions):
                both = len(self.directions) > 1 or direction
                back = " backward" if direction else " forward"
                yield (k, d), f"layer {layer}{back if both else ''}"


def measures(trace: Trace) -> Measures:
    """Measure a trace (`grus.trace`), which holds the gates and states of its cell.

    Raises InputError naming what was not recorded, and for a trace without steps or units.
    """
    cell = trace.cell
    counted = sum(int(np.sum(trace.lengths > step)) for step in trace.steps)
    if not counted:
        raise InputError("the trace holds no step to measure")
    if not len(trace.units):
        raise InputError("the trace holds no unit to measure")
    open_, kept = {g: trace[g].astype(np.float64) for g in gates(cell)}, keeps(cell)
    states = {s: trace[s].astype(np.float64) for s in cell.states}
    closing = resets(cell)
    return Measures(
        cell,
        trace.layers,
        trace.directions,
        trace.steps,
        trace.units,
        {g: _mean(v) for g, v in open_.items()},
        {g: _share(v, v < LEFT) for g, v in open_.items()},
        {g: _share(v, v > RIGHT) for g, v in open_.items()},
        {g: _mean(1 - open_[g]) for g in closing},
        {s: show(factor) for s, factor in kept.items()},
        {s: half_life(_factor(trace, factor, states[s])) for s, factor in kept.items()},
        {s: dead(v, trace) for s, v in states.items()},
        {s: _norm(v) for s, v in states.items()},
    )


def half_life(factor: Array) -> Array:
    """ln 2 / -mean(ln |factor|) over time and rows of [layer, direction, time, batch, unit]."""
    with np.errstate(divide="ignore"):
        rate = np.maximum(-_mean(np.log(np.abs(factor))), 0.0)
        return np.asarray(np.log(2) / (rate + 0.0))


def dead(state: Array, trace: Trace) -> Array:
    """Whether each unit hardly moves: bool [layer, direction, unit]; False where all is NaN."""
    later, first = state.copy(), round(len(trace.steps) * WARM_UP)
    for d, direction in enumerate(trace.directions):  # the backward one begins at the end
        begun = slice(len(trace.steps) - first, None) if direction else slice(first)
        later[:, d, begun] = np.nan
    known = ~np.isnan(later)
    count = np.maximum(known.sum(axis=(2, 3)), 1)
    centre = np.where(known, later, 0).sum(axis=(2, 3)) / count
    apart = np.where(known, later - centre[:, :, None, None], 0) ** 2
    still = np.sqrt(apart.sum(axis=(2, 3)) / count) < DEAD
    return np.asarray(still & known.any(axis=(2, 3)))


def _factor(trace: Trace, factor: Expr, state: Array) -> Array:
    leaves: dict[Expr, Array] = {
        n: trace[n.name].astype(np.float64) for n in walk(factor) if isinstance(n, Name)
    }
    if isinstance(factor, Const):
        return np.where(np.isnan(state), np.nan, factor.value)
    return np.asarray(evaluate(factor, leaves))


def _mean(values: Array) -> Array:
    return np.asarray(np.nanmean(values, axis=(2, 3)))


def _share(values: Array, where: Array) -> Array:
    return np.asarray(where.sum(axis=(2, 3)) / (~np.isnan(values)).sum(axis=(2, 3)))


def _norm(state: Array) -> Array:
    """[layer, direction, time]: NaN at a step that no row has."""
    norms = np.sqrt((state**2).sum(axis=-1))
    known = ~np.isnan(norms)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, norms, 0).sum(axis=-1) / known.sum(axis=-1))


def _lives(lives: Array) -> str:
    """The median, and what 10 and 90 of 100 units stay below."""
    low, middle, high = np.quantile(lives, (0.1, 0.5, 0.9), method="nearest")
    between = f" ({_number(low)} to {_number(high)})" if low < high else ""
    return _number(middle) + between


def _number(number: float) -> str:
    return "no end" if np.isinf(number) else f"{number:.3g}"


def _plain(array: Array) -> Any:
    if array.dtype.kind == "b":
        return array.tolist()
    if array.ndim > 1:
        return [_plain(part) for part in array]
    return [float(number) if np.isfinite(number) else None for number in array]
