"""A result that somebody got by hand: which slips, one or two, give just that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np

from grus.dialects.records import DIALECTS
from grus.dialects.slips import SLIPS, Calculation
from grus.equations import Cell, Weight
from grus.identification.fit import TWO, Fit
from grus.identification.functions import Function
from grus.identification.given import View

Array = Any
NEAR = 1e-12  # float64's rounding over a few steps
MAX_SLIPS = 2


@dataclass(frozen=True, eq=False)
class Explained:
    """Slips that give the value."""

    base: tuple[str, ...]
    """What was calculated but for the slips: dialects, or equations in words."""
    slips: tuple[str, ...]
    """None where the value is right, for that base."""
    value: Array
    """[hidden]."""


@dataclass(frozen=True, eq=False)
class Mine:
    """Which slips give a value that somebody got."""

    value: Array
    digits: int | None
    found: tuple[Explained, ...]
    """Those with the fewest slips; () where no slip and no pair of slips gives it."""
    tried: int
    odds: float
    """The odds that some of them gave an unrelated value."""


def explain(
    bases: list[tuple[tuple[str, ...], Function]],
    view: View,
    value: Array,
    digits: int | None,
    half: float,
) -> Mine:
    """Every slip and pair of slips on each base, and those that give ``value``.

    ``half`` is how far they may be off: half a unit of the last digit.
    """
    tried, hits = 0, list[Explained]()
    for name, function in bases:
        right = list(_readings(function, view))
        for slips, made in _all(right):
            tried += 1
            final = made.final()
            if final.size == value.size and _gives(final, np.ravel(value), half):
                hits.append(Explained(name, slips, final))
    fewest = min((len(one.slips) for one in hits), default=0)
    found = _once([one for one in hits if len(one.slips) == fewest])
    span = min(1.0, half + NEAR) ** value.size
    return Mine(value, digits, tuple(found), tried, min(1.0, tried * span))


def _gives(final: Array, value: Array, half: float) -> bool:
    off = np.abs(final - value)
    return bool(np.all(np.isfinite(off)) and off.max() <= half * (1 + 1e-9) + NEAR)


def _once(found: list[Explained]) -> list[Explained]:
    """Each set of slips once, with its first base."""
    kept: dict[tuple[str, ...], Explained] = {}
    for one in found:
        kept.setdefault(one.slips, one)
    return list(kept.values())


def _all(
    right: list[tuple[tuple[str, ...], Calculation]],
) -> Iterator[tuple[tuple[str, ...], Calculation]]:
    """Each reading, with as many slips on it as may still be made."""
    for slips, made in right:
        yield slips, made
        if len(slips) < MAX_SLIPS:
            yield from _with_slips(slips, made, 0)


def _with_slips(
    slips: tuple[str, ...], made: Calculation, first: int
) -> Iterator[tuple[tuple[str, ...], Calculation]]:
    """The slips of the table from ``first`` on; two of one sort are tried in one order."""
    for k, slip in enumerate(SLIPS[first:], first):
        for label, changed in slip(made):
            if label in slips:
                continue
            yield (*slips, label), changed
            if len(slips) + 1 < MAX_SLIPS:
                yield from _with_slips((*slips, label), changed, k)


def _readings(function: Function, view: View) -> Iterator[tuple[tuple[str, ...], Calculation]]:
    """The weights read rightly, in another order, with a bias left out, and both."""
    hypothesis = function.first
    cell, fit = hypothesis.variant.cell, hypothesis.fit
    orders: list[tuple[tuple[str, ...], Fit]] = [((), fit)]
    orders += [((label,), other) for label, other in _orders(fit)]
    for slips, read in orders:
        for dropped in (None, *_biases(read)):
            said = slips if dropped is None else (*slips, LEFT_OUT[dropped])
            yield said, _calculation(read, cell, view, dropped)


LEFT_OUT = {"b": "the input bias left out", TWO: "the recurrent bias left out"}


def _biases(fit: Fit) -> list[str]:
    """The families of biases that are not 0."""
    return [f for f in LEFT_OUT if any(w.family == f and a.any() for w, a in fit.blocks.items())]


def _calculation(fit: Fit, cell: Cell, view: View, dropped: str | None) -> Calculation:
    blocks = {w: array for w, array in fit.blocks.items() if w.family != dropped}
    single = fit.weights(cell, blocks)
    weights = {
        family: np.concatenate([single[Weight(family, gate)] for gate in gates])
        for family, gates in cell.families.items()
    }
    start = None if view.start is None else tuple(one[0] for one in view.start)
    return Calculation(cell, weights, view.x[:, 0], start)


def _orders(fit: Fit) -> Iterator[tuple[str, Fit]]:
    """The gates in every other order, and who has them so."""
    gates = sorted(fit.gates)
    for order in permutations(gates):
        to = dict(zip(gates, order, strict=True))
        if all(gate == other for gate, other in to.items()):
            continue
        parts = tuple(
            tuple(tuple(Weight(w.family, to[w.gate]) for w in part) for part in held)
            for held in fit.parts
        )
        other = replace(fit, parts=parts)
        who = dict.fromkeys(d.framework for d in DIALECTS if d.order == other.order)
        told = f" ({', '.join(who)})" if who else ""
        yield f"the gates read in the order {' '.join(other.order)}{told}", other
