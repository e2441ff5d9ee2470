"""Rows of a diagram: which nodes stand in each, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from grus.diagram.cell_graph import CellGraph, GraphNode, Use

SWEEPS = 24


def order(layout: Placement) -> None:
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


def _as_written(layout: Placement) -> None:
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


def _sort_column(layout: Placement, column: list[Row], from_left: bool) -> None:
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


def _places(layout: Placement) -> Callable[[Row], float]:
    at = {row: (k + 0.5) / len(c) for c in layout.columns for k, row in enumerate(c)}
    return at.__getitem__


def _sort_ports(layout: Placement) -> None:
    """Let arrows into a node enter in the order of where they come from; a quotient's may not."""
    place = _places(layout)
    coming = {s.use: place(s.left) for s in layout.segments if s.use}
    for row in layout.row_of.values():
        if not row.nodes[0].terms or row.nodes[0].terms[-1].token != "div":
            # What comes from below enters last.
            spread(row, sorted(row.ports, key=lambda use: coming.get(use, 2.0)))


def _crossings(layout: Placement) -> int:
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


NODE_HEIGHT = 30.0
PORT = 15.0  # between two arrows into one node
LINE = 9.0  # half of what a passing line needs
LINK = 16.0  # between two nodes of a row
PAD = 9.0
MIN_WIDTH = 30.0
LETTER = 8.2
BEND = 15.0  # what a corner costs, as a length
STRAIGHT = 0.01  # a bend below this is none


@dataclass(eq=False)
class Row:
    """Nodes one behind the other, or (no nodes) the place of a line that passes a column."""

    nodes: tuple[GraphNode, ...]
    net: str = ""
    """The source whose line passes here."""
    column: int = 0
    y: float = 0.0
    x: float = 0.0
    ports: dict[Use, float] = field(default_factory=dict)
    """Where each arrow enters, from the row's middle."""

    @property
    def half(self) -> float:
        """Half of the height."""
        return max(NODE_HEIGHT, (len(self.ports) + 0.4) * PORT) / 2 if self.nodes else LINE

    @property
    def is_weight(self) -> bool:
        """True for a lone weight, number, or product with one."""
        kinds = ("product", "vector", "constant")
        return len(self.nodes) == 1 and self.nodes[0].kind in kinds

    @property
    def width(self) -> float:
        """From the first node's left edge to the last one's right edge."""
        return sum(map(width, self.nodes)) + LINK * max(0, len(self.nodes) - 1)


def width(node: GraphNode) -> float:
    """The width of a node, by the letters that it shows."""
    small = max(len(node.label.below), len(node.label.above)) * 0.65
    least = 22.0 if node.kind in ("state", "input", "out") else MIN_WIDTH
    return max(least, (len(node.label.text) + small) * LETTER + 2 * PAD)


@dataclass
class Placement:
    """Rows by column from left to right, each column from top to bottom, and who is where."""

    graph: CellGraph
    columns: list[list[Row]]
    row_of: dict[str, Row]
    segments: list[Segment] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """All rows that show nodes."""
        return [row for column in self.columns for row in column if row.nodes]

    def passing(self, net: str, column: int) -> Row:
        """Where the line of a source is in a column: its own row, or the place kept for it."""
        row = self.row_of[net]
        if row.column == column:
            return row
        return next(r for r in self.columns[column] if r.net == net)


@dataclass(frozen=True, slots=True)
class Segment:
    """A line from one column to the next; ``use`` says by which arrow it enters, if it does."""

    left: Row
    right: Row
    use: Use | None

    def enters(self) -> float:
        """The height at the right end, from the row's middle."""
        return self.right.ports[self.use] if self.use else 0.0

    def bend(self) -> float:
        """The height of the right end above the left one; 0 for a straight line."""
        return self.left.y - self.right.y - self.enters()

    def cost(self) -> float:
        """The cost of a bend: length and corners, and more for a small one, which looks wrong."""
        bend = abs(self.bend())
        small = BEND if bend < PORT else 0.0
        return (bend + BEND + small) * self.weight() if bend > STRAIGHT else 0.0

    def weight(self) -> float:
        """The weight of being straight: long lines most, those of a weight least."""
        passing = (not self.left.nodes) + (not self.right.nodes)
        return 1.0 if self.left.is_weight or self.right.is_weight else 2.0 + 3.0 * passing


def place(graph: CellGraph) -> Placement:
    """Give every row a column: as late as its uses allow, by longest path."""
    rows = _rows(graph)
    row_of = {node.key: row for row in rows for node in row.nodes}
    _columns(graph, rows, row_of)
    columns: list[list[Row]] = [[] for _ in range(1 + max(row.column for row in rows))]
    for row in rows:
        columns[row.column].append(row)
    layout = Placement(graph, columns, row_of)
    for use in graph.uses:
        _keep_places(layout, use)
    layout.segments = _segments(layout)
    return layout


def is_input(graph: CellGraph, use: Use) -> bool:
    """True for the use of an input, which comes from below."""
    return graph.nodes[use.source].kind == "input"


def _rows(graph: CellGraph) -> list[Row]:
    """Join a node to the one before it where that one goes nowhere else."""
    chains: dict[str, list[GraphNode]] = {}
    for node in graph.nodes.values():
        if node.kind != "input":
            chains[node.key] = [node]
    for node in graph.nodes.values():
        into = graph.into(node.key)
        if len(into) != 1 or node.kind == "out" or into[0].reads:
            continue
        before = into[0].source
        if len(graph.out_of(before)) == 1 and before in chains:
            head, tail = chains[before], chains[node.key]
            head += tail
            for member in tail:
                chains[member.key] = head
    unique = {id(chain): chain for chain in chains.values()}
    rows = [Row(tuple(chain)) for chain in unique.values()]
    for row in rows:
        row.ports = dict.fromkeys(graph.into(row.nodes[0].key), 0.0)
        spread(row, list(row.ports))
    return rows


def spread(row: Row, uses: Sequence[Use]) -> None:
    """Give the arrows into a row their places, from top to bottom in the order given."""
    for k, use in enumerate(uses):
        row.ports[use] = (k - (len(uses) - 1) / 2) * PORT


def _columns(graph: CellGraph, rows: list[Row], row_of: dict[str, Row]) -> None:
    """States in column 0, ways out in the last; everything else as late as its uses allow."""
    users: dict[Row, list[Row]] = {row: [] for row in rows}
    for use in graph.uses:
        source, target = row_of.get(use.source), row_of[use.target]
        if source is not None and source is not target:
            users[source].append(target)
    depth: dict[Row, int] = {}

    def to_the_end(row: Row) -> int:
        if row not in depth:
            nothing = -1 if row.nodes[0].kind == "out" else 0
            depth[row] = 1 + max(map(to_the_end, users[row]), default=nothing)
        return depth[row]

    states = [row for row in rows if row.nodes[0].kind == "state"]
    last = 1 + max(to_the_end(row) for row in rows if row not in states)
    for row in rows:
        row.column = 0 if row in states else last - to_the_end(row)


def _keep_places(layout: Placement, use: Use) -> None:
    if is_input(layout.graph, use):
        return
    source, target = layout.row_of[use.source], layout.row_of[use.target]
    for column in range(source.column + 1, target.column):
        if not any(r.net == use.source for r in layout.columns[column]):
            layout.columns[column].append(Row((), use.source, column))


def _segments(layout: Placement) -> list[Segment]:
    segments: dict[tuple[Row, Row, Use | None], Segment] = {}
    for use in layout.graph.uses:
        target = layout.row_of[use.target]
        if is_input(layout.graph, use) or layout.row_of[use.source] is target:
            continue
        left = layout.row_of[use.source]
        for column in range(left.column + 1, target.column + 1):
            right = target if column == target.column else layout.passing(use.source, column)
            enters = use if right is target else None
            segments[left, right, enters] = Segment(left, right, enters)
            left = right
    return list(segments.values())
