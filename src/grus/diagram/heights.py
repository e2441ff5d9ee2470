"""The heights of the rows: as many straight lines as fit."""

from __future__ import annotations

from itertools import pairwise
from math import inf

from grus.diagram.placement import STRAIGHT, Placement, Row, Segment

ROOM = 14.0  # between two nodes of a column
SLACK = 3.0  # of that room, for the sake of a straight line
RUN = 4  # neighbours of a column that move together
SWEEPS = 24


def heights(layout: Placement) -> None:
    """Straighten lines: columns move to the medians of their neighbours, then rows in groups."""
    for column in layout.columns:
        y = 0.0
        for row in column:
            y += row.half
            row.y = y
            y += row.half + ROOM
    for sweep in range(2 * SWEEPS):
        for column in layout.columns if sweep % 2 == 0 else reversed(layout.columns):
            wishes = [_wishes(row, layout.segments) for row in column]
            gaps = [a.half + b.half + _room(a, b) for a, b in pairwise(column)]
            for row, y in zip(column, fit(wishes, gaps), strict=True):
                row.y = y
    rows = [row for column in layout.columns for row in column]
    start, best = [row.y for row in rows], None
    for longest in range(1, RUN + 1):
        for row, y in zip(rows, start, strict=True):
            row.y = y
        _straighten(layout, longest)
        bends = sum(s.cost() for s in layout.segments)
        if best is None or bends < best[0]:
            best = bends, [row.y for row in rows]
    assert best is not None
    for row, y in zip(rows, best[1], strict=True):
        row.y = y


def _straighten(layout: Placement, longest: int) -> None:
    """Move groups of rows to where fewer corners are, if there is room.

    A group is up to ``longest`` neighbours of a column, a passing line, or rows that straight
    lines join.
    """
    groups = [column[a:b] for column in layout.columns for a, b in _runs(len(column), longest)]
    for net in dict.fromkeys(row.net for column in layout.columns for row in column if row.net):
        line = [row for column in layout.columns for row in column if row.net == net]
        groups += [line[a:b] for a, b in _runs(len(line), len(line))]
    for _ in range(SWEEPS):
        moved = [_best_move(layout, rows) for rows in groups]
        for row in layout.rows():
            moved.append(_best_move(layout, _joined(row, layout.segments)))
        if not any(moved):
            return


def _runs(count: int, longest: int) -> list[tuple[int, int]]:
    """All slices of ``count`` things in a row of at most ``longest``."""
    return [(a, b) for a in range(count) for b in range(a + 1, min(count, a + longest) + 1)]


def _joined(row: Row, segments: list[Segment]) -> list[Row]:
    """The rows that straight lines join to this one, itself included."""
    joined = [row]
    for member in joined:
        for s in segments:
            if member in (s.left, s.right) and abs(s.bend()) < STRAIGHT:
                joined += [r for r in (s.left, s.right) if r not in joined]
    return joined


def _best_move(layout: Placement, rows: list[Row]) -> bool:
    """Move ``rows`` together by what helps most; False when staying is best."""
    touching = [s for s in layout.segments if (s.left in rows) != (s.right in rows)]
    before = [row.y for row in rows]

    def cost(by: float) -> float:
        for row, y in zip(rows, before, strict=True):
            row.y = y + by
        if by and not all(_fits(layout.columns[row.column], row) for row in rows):
            return inf
        return sum(s.cost() for s in touching)

    wanted = [s.bend() if s.right in rows else -s.bend() for s in touching]
    best = min([0.0, *wanted], key=lambda by: (round(cost(by), 3), abs(by)))
    cost(best)
    return abs(best) > STRAIGHT


def _fits(column: list[Row], row: Row) -> bool:
    k = column.index(row)
    pairs = [(a, b) for a, b in pairwise(column[max(0, k - 1) : k + 2])]
    return all(b.y - a.y > a.half + b.half + _room(a, b) - SLACK for a, b in pairs)


def _room(a: Row, b: Row) -> float:
    return ROOM if a.nodes and b.nodes else ROOM / 3


def _wishes(row: Row, segments: list[Segment]) -> list[tuple[float, float]]:
    """Where each line would have this row, with a weight; long lines weigh most."""
    wishes = [(row.y, 0.01)]
    for s in segments:
        if s.right is row:
            wishes.append((s.left.y - s.enters(), s.weight()))
        elif s.left is row:
            wishes.append((s.right.y + s.enters(), s.weight()))
    return wishes


def fit(wishes: list[list[tuple[float, float]]], gaps: list[float]) -> list[float]:
    """Heights at least ``gaps`` apart with the least weighted distance from the wishes.

    Isotonic regression in the absolute norm by pooling: neighbours that want to pass each other
    are held together and take the weighted median of all their wishes.
    """
    offsets = [sum(gaps[:k]) for k in range(len(wishes))]
    pools: list[tuple[list[tuple[float, float]], int, float]] = []
    for wish, offset in zip(wishes, offsets, strict=True):
        shifted = [(y - offset, weight) for y, weight in wish]
        pools.append((shifted, 1, median(shifted)))
        while len(pools) > 1 and pools[-2][2] > pools[-1][2]:
            (upper, n, _), (lower, m, _) = pools[-2:]
            pools[-2:] = [(upper + lower, n + m, median(upper + lower))]
    flat = [value for _, count, value in pools for _ in range(count)]
    return [value + offset for value, offset in zip(flat, offsets, strict=True)]


def median(wishes: list[tuple[float, float]]) -> float:
    """The weighted median: half of the weight lies on either side."""
    half = sum(weight for _, weight in wishes) / 2
    passed = 0.0
    for value, weight in sorted(wishes):
        passed += weight
        if passed >= half:
            return value
    raise ValueError("no wishes")
