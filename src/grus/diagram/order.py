"""The order of the rows in each column: by the mean place of their neighbours, to and fro.

Sugiyama, Tagawa and Toda (1981).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from grus.diagram.rows import Layout, Row, is_input, spread

SWEEPS = 24


def order(layout: Layout) -> None:
    """Sort each column by the mean place of its neighbours, to and fro; keep the best order."""
    best, fewest = [list(c) for c in layout.columns], _crossings(layout)
    for sweep in range(SWEEPS):
        ahead = sweep % 2 == 0
        for column in layout.columns if ahead else reversed(layout.columns):
            _sort_column(layout, column, ahead)
        _sort_ports(layout)
        crossings = _crossings(layout)
        if crossings < fewest:
            best, fewest = [list(c) for c in layout.columns], crossings
    layout.columns[:] = best
    _sort_ports(layout)
    _as_written(layout)


def _as_written(layout: Layout) -> None:
    """Put neighbours in the order of the equations where that crosses no more lines."""
    written = {key: k for k, key in enumerate(layout.graph.nodes)}
    fewest = _crossings(layout)
    for column in layout.columns:
        for k in [k for _ in column for k in range(len(column) - 1)]:
            a, b = column[k : k + 2]
            if a.nodes and b.nodes and written[b.nodes[0].key] < written[a.nodes[0].key]:
                column[k : k + 2] = b, a
                _sort_ports(layout)
                crossings = _crossings(layout)
                if crossings > fewest:
                    column[k : k + 2] = a, b
                fewest = min(fewest, crossings)
    _sort_ports(layout)


def _sort_column(layout: Layout, column: list[Row], from_left: bool) -> None:
    place = _places(layout)
    wanted: dict[Row, float] = {}
    for k, row in enumerate(column):
        sides = [
            s.left if from_left else s.right for s in layout.segments if row in (s.left, s.right)
        ]
        near = [place(r) for r in sides if r is not row]
        # Products with an input lean towards the bottom, where the inputs come from.
        below = any(is_input(layout.graph, use) for use in row.ports)
        wanted[row] = fmean(near) if near else k / max(1, len(column)) + (0.1 if below else 0)
    column.sort(key=lambda row: wanted[row])


def _places(layout: Layout) -> Callable[[Row], float]:
    at = {row: (k + 0.5) / len(c) for c in layout.columns for k, row in enumerate(c)}
    return at.__getitem__


def _sort_ports(layout: Layout) -> None:
    """Let arrows into a node enter in the order of where they come from; a quotient's may not."""
    place = _places(layout)
    coming = {s.use: place(s.left) for s in layout.segments if s.use}
    for row in layout.row_of.values():
        if not row.nodes[0].terms or row.nodes[0].terms[-1].token != "div":
            # What comes from below enters last.
            spread(row, sorted(row.ports, key=lambda use: coming.get(use, 2.0)))


def _crossings(layout: Layout) -> int:
    place = _places(layout)
    by_column: dict[int, list[tuple[float, float]]] = {}
    for s in layout.segments:
        right = place(s.right) + s.enters() * 1e-4
        by_column.setdefault(s.left.column, []).append((place(s.left), right))
    return sum(
        (a[0] - b[0]) * (a[1] - b[1]) < 0
        for ends in by_column.values()
        for k, a in enumerate(ends)
        for b in ends[:k]
    )
