"""The lines of a diagram: where each runs, and which track between rows it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from grus.diagram.cell_graph import Use
from grus.diagram.placement import LINE, LINK, Placement, Row, width


@dataclass(eq=False)
class Crossing:
    """The lines of one source in one gap: they arrive at one height and leave at others."""

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


def gap(layout: Placement, bus: dict[str, float], column: int) -> Gap:
    """The gap to the right of a column; ``bus`` gives the height of each input's line."""
    crossings: dict[str, Crossing] = {}
    for use in layout.graph.uses:
        target = layout.row_of[use.target]
        ends_here = target.column == column + 1
        if use.source in bus:
            if ends_here:
                crossing = crossings.setdefault(use.source, Crossing(use.source, None))
                crossing.right.append(target.y + target.ports[use])
                crossing.below = bus[use.source]
            continue
        source = layout.row_of[use.source]
        if source is target or not source.column <= column < target.column:
            continue
        left = layout.passing(use.source, column)
        crossing = crossings.setdefault(use.source, Crossing(use.source, left.y))
        right = target if ends_here else layout.passing(use.source, column + 1)
        height = right.y + (right.ports[use] if ends_here else 0.0)
        if height not in crossing.right:
            crossing.right.append(height)
    return Gap(crossings, _ordered(list(crossings.values())))


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
    """The number of times the two cross when the first one's track is to the left."""
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


TRACK = 12.0
GAP = 20.0
BUS = 26.0  # between the lines of two inputs
EDGE = 30.0  # from the frame to what stands in it

Point = tuple[float, float]


@dataclass
class Routes:
    """The lines of all uses, the places where they branch, and the size of the drawing."""

    lines: dict[Use, list[Point]]
    branches: dict[str, set[Point]]
    inputs: dict[str, Point]
    """Where each input's line begins, at the bottom."""
    frame: tuple[float, float, float, float]
    """Left, top, right, bottom of the cell's frame; states stand outside it."""


def route(layout: Placement) -> Routes:
    """Give every row its place across the page and every use its line."""
    lowest = max(row.y + row.half for column in layout.columns for row in column)
    highest = min(row.y - row.half for column in layout.columns for row in column)
    inputs = [n.key for n in layout.graph.nodes.values() if n.kind == "input"]
    bus = {key: lowest + EDGE + BUS * k for k, key in enumerate(inputs)}
    gaps = [gap(layout, bus, column) for column in range(len(layout.columns) - 1)]
    left, right = _across(layout, gaps)
    bottom = max([lowest, *bus.values()]) + EDGE
    frame = (left, highest - EDGE, right, bottom)
    starts = {
        key: (next(g.crossings[key].track for g in gaps if key in g.crossings), height)
        for key, height in bus.items()
    }
    lines = {use: _line(layout, gaps, starts, use) for use in layout.graph.uses}
    begins = {key: (x, bottom + EDGE / 2) for key, (x, _) in starts.items()}
    for use, line in lines.items():
        if use.source in begins:
            line.insert(0, begins[use.source])
    lines = {use: _tidy(line) for use, line in lines.items()}
    return Routes(lines, _branches(lines), begins, frame)


def _across(layout: Placement, gaps: list[Gap]) -> tuple[float, float]:
    """Set x of every row and the true x of every track; return the frame's left and right."""
    x, starts, ends = 0.0, [], []
    for g, column in enumerate(layout.columns):
        starts.append(x)
        wide = max((row.width for row in column), default=0.0)
        for row in column:
            # Weights stand at the right end of their column, near what uses them.
            row.x = x + (wide - row.width if row.is_weight else 0.0)
        x += wide
        ends.append(x)
        if g < len(gaps):
            x += EDGE if g == 0 else 0.0
            x = _tracks(layout, gaps[g], x)
            x += EDGE if g == len(gaps) - 1 else 0.0
    return ends[0] + EDGE / 2, starts[-1] - EDGE / 2


def _tracks(layout: Placement, within: Gap, x: float) -> float:
    """Set x of the tracks of one gap that begins at ``x``; return where it ends.

    Inputs stand further apart, since their names stand below their tracks.
    """
    x, free = x + GAP / 2, x
    for crossing in within.tracks:
        node = layout.graph.nodes[crossing.net]
        if node.kind == "input":
            x = max(x, free + width(node) / 2)
            free = x + width(node) / 2
        crossing.track = x
        x += TRACK
    return x + GAP / 2 - (TRACK if within.tracks else 0.0)


def _line(layout: Placement, gaps: list[Gap], starts: dict[str, Point], use: Use) -> list[Point]:
    """The corners of one use's line, from its source to its target."""
    target = layout.row_of[use.target]
    if use.source in starts:
        track = gaps[target.column - 1].crossings[use.source].track
        enters = target.y + target.ports[use]
        x, height = starts[use.source]
        return [(x, height), (track, height), (track, enters), (target.x, enters)]
    source = layout.row_of[use.source]
    if source is target:
        return _link(source, use)
    points = [(source.x + source.width, source.y)]
    for column in range(source.column, target.column):
        last = column + 1 == target.column
        right = target if last else layout.passing(use.source, column + 1)
        height = right.y + (target.ports[use] if last else 0.0)
        crossing = gaps[column].crossings[use.source]
        if height != points[-1][1] or crossing.first:
            points += crossing.climb(points[-1][1], height)
    return [*points, (target.x, points[-1][1])]


def _link(row: Row, use: Use) -> list[Point]:
    x = row.x
    for node in row.nodes:
        x += width(node)
        if node.key == use.source:
            return [(x, row.y), (x + LINK, row.y)]
        x += LINK
    raise KeyError(use.source)


def _tidy(line: list[Point]) -> list[Point]:
    """Without repeated points and without corners that do not turn."""
    kept: list[Point] = []
    for point in line:
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and any(kept[-2][a] == kept[-1][a] == point[a] for a in (0, 1)):
            kept.pop()
        kept.append(point)
    return kept


def _branches(lines: dict[Use, list[Point]]) -> dict[str, set[Point]]:
    """The points where a source's lines part: three or more ways lead on from there."""
    ways: dict[str, dict[Point, set[tuple[int, int]]]] = {}
    for use, line in lines.items():
        for (x, y), (to_x, to_y) in pairwise(line):
            way = ((to_x > x) - (to_x < x), (to_y > y) - (to_y < y))
            if way != (0, 0):
                at = ways.setdefault(use.source, {})
                at.setdefault((x, y), set()).add(way)
                at.setdefault((to_x, to_y), set()).add((-way[0], -way[1]))
    for use, line in lines.items():
        for a, b in pairwise(line):
            through = {(1, 0), (-1, 0)} if a[1] == b[1] else {(0, 1), (0, -1)}
            for point in ways[use.source]:
                if point not in (a, b) and _between(a, point, b):
                    ways[use.source][point] |= through
    return {net: {p for p, leads in at.items() if len(leads) > 2} for net, at in ways.items()}


def _between(a: Point, point: Point, b: Point) -> bool:
    inside = all(min(u, w) <= v <= max(u, w) for u, v, w in zip(a, point, b, strict=True))
    return inside and (a[0] == point[0] == b[0] or a[1] == point[1] == b[1])
