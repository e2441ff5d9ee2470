"""Which cells are ahead, as far as the spreads let one say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from grus.equations.text import counted

FEWEST = 4
FAILING = 0.9


@dataclass(frozen=True)
class Verdict:
    """The cells in front, those behind all of them, and a sentence that says it.

    ``winner`` is None where nothing can be said.
    """

    winner: str | None
    leaders: tuple[str, ...]
    behind: tuple[str, ...]
    sentence: str


def verdict(losses: Mapping[str, Sequence[float]], baseline: float) -> Verdict:
    """Judge cells by their best validation losses, one for each seed; lower is better.

    A cell's spread is the range from its best seed to its worst. One cell is ahead of another when
    the spreads do not overlap: its worst seed is better than the other's best. A winner is named
    when one cell is ahead of every other, and each has four seeds or more. This asks nothing of the
    losses' distribution: were two cells the same, all n seeds of one would come before all n of
    the other in 2 of (2n choose n) cases, 2.9 % for four seeds and 0.8 % for five (the extreme of
    Mann and Whitney's test, 1947). For three it is 10 %, so three are too few. Equal losses
    overlap. A run that diverged counts with the loss it is given, infinity at worst. A cell that is
    `failing` against ``baseline``, what knowing nothing gives, does not win.

    The leaders are the cell of the lowest median and all that it is not ahead of.
    """
    if len(losses) < 2:
        return Verdict(None, tuple(losses), (), "One cell: nothing to compare.")
    few = min(map(len, losses.values()))
    if few < FEWEST:
        said = f"No winner: {counted(few, 'seed')} each are too few to tell, {FEWEST} are needed."
        return Verdict(None, tuple(losses), (), said)
    first = min(losses, key=lambda name: median(losses[name]))
    behind = tuple(name for name in losses if max(losses[first]) < min(losses[name]))
    leaders = tuple(name for name in losses if name not in behind)
    if leaders == (first,) and first in failing(losses, baseline):
        said = f"No winner: {first} has the lowest loss, but learned next to nothing as well."
        return Verdict(None, leaders, behind, said)
    if leaders == (first,):
        said = f"{first} wins: its worst seed is better than the best seed of {_and(behind)}."
        return Verdict(first, leaders, behind, said)
    said = f"No winner: the spreads of {_and(leaders)} overlap."
    if behind:
        said += f" Behind {first} on every seed: {_and(behind)}."
    return Verdict(None, leaders, behind, said)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def failing(losses: Mapping[str, Sequence[float]], baseline: float) -> tuple[str, ...]:
    """The cells that learned next to nothing.

    On no seed did their loss fall below nine tenths of ``baseline``, what knowing nothing gives.
    """
    return tuple(name for name in losses if min(losses[name]) >= FAILING * baseline)


def solved(losses: Sequence[float], limit: float | None) -> int | None:
    """On how many seeds the loss is below ``limit``; None where the task has no such limit."""
    return None if limit is None else sum(loss < limit for loss in losses)
