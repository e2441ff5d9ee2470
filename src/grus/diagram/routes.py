"""The lines of a diagram: horizontal through columns, vertical in the gaps between them.

All arrows of one source share a line; no line lies on that of another source.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from grus.diagram.graph import Use
from grus.diagram.rows import LINK, Layout, Row, width
from grus.diagram.tracks import Gap, gap

TRACK = 12.0
GAP = 20.0
BUS = 26.0  # between the lines of two inputs
EDGE = 30.0  # from the frame to what stands in it

Point = tuple[float, float]


@dataclass
class Routes:
    """The lines of all uses, the places where they branch, and the size of it all."""

    lines: dict[Use, list[Point]]
    branches: dict[str, set[Point]]
    inputs: dict[str, Point]
    """Where each input's line begins, at the bottom."""
    frame: tuple[float, float, float, float]
    """Left, top, right, bottom of the cell's frame; states stand outside it."""


def route(layout: Layout) -> Routes:
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


def _across(layout: Layout, gaps: list[Gap]) -> tuple[float, float]:
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


def _tracks(layout: Layout, within: Gap, x: float) -> float:
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


def _line(layout: Layout, gaps: list[Gap], starts: dict[str, Point], use: Use) -> list[Point]:
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
