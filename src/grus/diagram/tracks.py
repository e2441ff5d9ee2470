"""What happens between two columns: which lines change height there, and in which order.

A source that changes height in a gap turns on a vertical track of its own. A line that arrives at
the height at which another leaves must turn before that one does; where such demands go in a
circle, one line turns twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from grus.diagram.rows import LINE, Layout


@dataclass(eq=False)
class Crossing:
    """What one source does in one gap: it arrives at a height and leaves at others."""

    net: str
    left: float | None
    right: list[float] = field(default_factory=list)
    below: float | None = None
    track: float = 0.0
    first: Crossing | None = None
    """A turn that it makes before, to a height that is free."""

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest height of the vertical part."""
        ends = [*self.right, *(y for y in (self.left, self.below) if y is not None)]
        return min(ends), max(ends)

    @property
    def straight(self) -> bool:
        """True when there is no vertical part."""
        low, high = self.span
        return low == high

    def climb(self, start: float, end: float) -> list[tuple[float, float]]:
        """The corners of a line that arrives at ``start`` and leaves at ``end``."""
        if self.first is None:
            return [(self.track, start), (self.track, end)]
        middle = self.first.right[0]
        corners = self.first.climb(start, middle)
        return [*corners, (self.track, middle), (self.track, end)]


@dataclass
class Gap:
    """The space right of a column: what crosses it, and its vertical tracks from the left."""

    crossings: dict[str, Crossing]
    tracks: list[Crossing]


def gap(layout: Layout, bus: dict[str, float], column: int) -> Gap:
    """The gap to the right of a column; ``bus`` gives the height of each input's line."""
    found: dict[str, Crossing] = {}
    for use in layout.graph.uses:
        target = layout.row_of[use.target]
        ends_here = target.column == column + 1
        if use.source in bus:
            if ends_here:
                crossing = found.setdefault(use.source, Crossing(use.source, None))
                crossing.right.append(target.y + target.ports[use])
                crossing.below = bus[use.source]
            continue
        source = layout.row_of[use.source]
        if source is target or not source.column <= column < target.column:
            continue
        left = layout.passing(use.source, column)
        crossing = found.setdefault(use.source, Crossing(use.source, left.y))
        right = target if ends_here else layout.passing(use.source, column + 1)
        height = right.y + (right.ports[use] if ends_here else 0.0)
        if height not in crossing.right:
            crossing.right.append(height)
    return Gap(found, _ordered(list(found.values())))


def _ordered(crossings: list[Crossing]) -> list[Crossing]:
    """The tracks from left to right: what must turn first, then what crosses least."""
    todo, done = [c for c in crossings if not c.straight], []
    while todo:
        free = [c for c in todo if not any(_blocks(other, c) for other in todo if other is not c)]
        stuck = [c for c in todo if c.left is not None]
        best = min(free or stuck, key=lambda c: sum(_cross(c, other) for other in todo))
        if free:
            todo.remove(best)
            done.append(best)
        else:
            best.first = Crossing(best.net, best.left, [_free_height(best, crossings)])
            best.left = best.first.right[0]
            done.append(best.first)
    return done


def _blocks(first: Crossing, second: Crossing) -> bool:
    """True when ``first`` must turn to the left of ``second``."""
    return first.left is not None and any(abs(first.left - y) < LINE / 2 for y in second.right)


def _cross(left: Crossing, right: Crossing) -> int:
    """How often the two cross when the first one's track is to the left."""
    if left is right:
        return 0
    (low, high), (low_right, high_right) = left.span, right.span
    arrives = right.left is not None and low < right.left < high
    return arrives + sum(low_right < y < high_right for y in left.right)


def _free_height(crossing: Crossing, others: list[Crossing]) -> float:
    """A height near the middle of a crossing at which nothing arrives or leaves."""
    taken = [y for c in others for y in (*c.right, c.left) if y is not None]
    low, high = crossing.span
    steps = [k * LINE / 2 * sign for k in range(len(taken) + 1) for sign in (1, -1)]
    heights = [(low + high) / 2 + step for step in steps]
    return max(heights[: 2 * len(taken) + 2], key=lambda y: min(LINE, *(abs(y - t) for t in taken)))
