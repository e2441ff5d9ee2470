"""A result that somebody got by hand: which slips, one or two, give just that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects.records import DIALECTS
from grus.identification.fit import Fit
from grus.identification.given import Example
from grus.identification.hypotheses import Weighted
from grus.mistakes import BIAS_LEFT_OUT, Calculation, read_in_order, slips

Array = Any
NEAR = 1e-12  # float64's rounding over a few steps
MAX_SLIPS = 2


@dataclass(frozen=True, eq=False)
class Slipped:
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
    found: tuple[Slipped, ...]
    """Those with the fewest slips; () where no slip and no pair of slips gives it."""
    tried: int
    odds: float
    """The odds that some of them gave an unrelated value."""


def explain(
    bases: list[tuple[tuple[str, ...], Weighted]],
    view: Example,
    value: Array,
    digits: int | None,
    half: float,
) -> Mine:
    """Every slip and pair of slips on each base, and those that give ``value``.

    ``half`` is how far they may be off: half a unit of the last digit.
    """
    tried, hits = 0, list[Slipped]()
    for name, function in bases:
        right = list(_readings(function, view))
        for names, calculation in _all(right):
            tried += 1
            final = calculation.final()
            if final.size == value.size and _gives(final, np.ravel(value), half):
                hits.append(Slipped(name, names, final))
    fewest = min((len(one.slips) for one in hits), default=0)
    found = _once([one for one in hits if len(one.slips) == fewest])
    span = min(1.0, half + NEAR) ** value.size
    return Mine(value, digits, tuple(found), tried, min(1.0, tried * span))


def _gives(final: Array, value: Array, half: float) -> bool:
    off = np.abs(final - value)
    return bool(np.all(np.isfinite(off)) and off.max() <= half * (1 + 1e-9) + NEAR)


def _once(found: list[Slipped]) -> list[Slipped]:
    """Each set of slips once, with its first base."""
    kept: dict[tuple[str, ...], Slipped] = {}
    for one in found:
        kept.setdefault(one.slips, one)
    return list(kept.values())


def _all(
    right: list[tuple[tuple[str, ...], Calculation]],
) -> Iterator[tuple[tuple[str, ...], Calculation]]:
    """Each reading, with as many slips on it as may still be made."""
    for names, calculation in right:
        yield names, calculation
        yield from _with_slips(names, calculation, 0)


def _with_slips(
    names: tuple[str, ...], calculation: Calculation, first: int
) -> Iterator[tuple[tuple[str, ...], Calculation]]:
    """The slips from sort ``first`` on; two of one sort are tried in one order."""
    if len(names) == MAX_SLIPS:
        return
    for sort, slip in slips(calculation, first):
        if slip.name not in names:
            wrong = calculation.wrong(slip)
            yield (*names, slip.name), wrong
            yield from _with_slips((*names, slip.name), wrong, sort)


def _readings(function: Weighted, view: Example) -> Iterator[tuple[tuple[str, ...], Calculation]]:
    """The weights read rightly, in another order, with a bias left out, and both."""
    hypothesis = function.first
    fit = hypothesis.fit
    start = None if view.start is None else tuple(one[0] for one in view.start)
    blocks = dict(fit.blocks)
    right = Calculation(hypothesis.variant.cell, blocks, view.x[:, 0], start, fit.shift)
    for names, read in [((), right), *_orders(fit, right)]:
        yield names, read
        for family, mistake in BIAS_LEFT_OUT.items():
            if any(w.family == family and a.any() for w, a in read.blocks.items()):
                yield (*names, mistake.name), read.wrong(mistake)


def _orders(fit: Fit, right: Calculation) -> Iterator[tuple[tuple[str, ...], Calculation]]:
    """The gates in every other order, and who has them so."""
    for order, mistake in read_in_order(fit.order):
        who = dict.fromkeys(d.framework for d in DIALECTS if d.order == order)
        users = f" ({', '.join(who)})" if who else ""
        yield (f"{mistake.name}{users}",), right.wrong(mistake)
