"""A cell as a picture: an SVG drawn from the equations, every term once.

A box W or U is a product with that matrix; data attributes say which term of which equation each
shape stands for, so that the equations can be read back from the picture.
"""

from __future__ import annotations

from html import escape

from grus.diagram.cell_graph import CellGraph, GraphNode, Label, Use, build
from grus.diagram.heights import heights
from grus.diagram.placement import LINK, NODE_HEIGHT, Row, order, place, width
from grus.diagram.routes import Point, Routes, route
from grus.equations import Cell

MARGIN = 14.0
CORNER = 6.0
LEGEND, LEGEND_WIDTH = 56.0, 380.0
BASELINE = 5.0
ROUND = {"product": 3, "vector": 3, "constant": 3, "elementwise": 15, "function": 8, "value": 15}
ITALIC = ("product", "vector", "value")
# Okabe and Ito's palette: distinct to every kind of colour vision; shapes say the same again.
INK, GREY = "#1a1a1a", "#5f6368"
BLUE, RED, GREEN, AMBER = "#0072B2", "#D55E00", "#009E73", "#E69F00"
STYLE = f"""
text {{ font: 16px "STIX Two Text", "Times New Roman", "Liberation Serif", serif; fill: {INK};
  text-anchor: middle; }}
.italic {{ font-style: italic; }}
.index {{ font-size: 11px; }}
.use {{ fill: none; stroke: {INK}; stroke-width: 1.4; }}
.use.state {{ stroke: {BLUE}; stroke-width: 2; }}
.use.input {{ stroke: {RED}; stroke-width: 2; }}
.head, .dot {{ fill: {INK}; }}
.head.state, .dot.state {{ fill: {BLUE}; }}
.head.input, .dot.input {{ fill: {RED}; }}
.shape {{ stroke: {INK}; stroke-width: 1.2; fill: #fff; }}
.product .shape {{ fill: #fdf3dc; stroke: {AMBER}; stroke-width: 1.6; }}
.vector .shape {{ fill: #fdf3dc; stroke: {AMBER}; stroke-width: 1.2; stroke-dasharray: 4 2; }}
.function .shape {{ fill: #e3f0f9; stroke: {BLUE}; }}
.value .shape {{ fill: #e0f4ee; stroke: {GREEN}; stroke-width: 1.6; }}
.frame {{ fill: #fff; stroke: {GREY}; stroke-width: 1; }}
.legend > text:last-child, .name {{ font-size: 13px; fill: {GREY}; text-anchor: start; }}
"""
LEGEND_TEXTS = {
    "product": "matrix product",
    "vector": "weight vector",
    "elementwise": "element by element",
    "function": "function",
    "value": "named value",
}
SAMPLES = {"product": "W", "vector": "b", "elementwise": "+", "function": "σ", "value": "r"}


def svg(cell: Cell) -> str:
    """The picture of one step of ``cell``, as the text of an SVG file."""
    graph = build(cell)
    layout = place(graph)
    order(layout)
    heights(layout)
    routes = route(layout)
    left, top, right, bottom = routes.frame
    size = f'x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}"'
    parts = [f'<rect class="frame" {size} rx="14"/>']
    parts.append(
        f'<text class="name" x="{left + 14:g}" y="{top + 16:g}">{escape(cell.name)}</text>'
    )
    parts += [_use(graph, use, routes.lines[use], routes) for use in graph.uses]
    parts += [_dot(graph, net, p) for net, points in routes.branches.items() for p in points]
    parts += [part for row in layout.rows() for part in _row(row)]
    for key, (x, end) in routes.inputs.items():
        node, y = graph.nodes[key], end + NODE_HEIGHT / 3
        parts.append(_node(node, x, y, NODE_HEIGHT, _text(node.label, x, y)))
    widest = max(right, left + LEGEND_WIDTH)
    legend, end = _legend(graph, left, widest, bottom + LEGEND)
    page = max(widest, *(row.x + row.width for row in layout.rows()))
    return _document(cell, (0.0, top, page, end), [*parts, *legend])


def _document(cell: Cell, page: tuple[float, float, float, float], parts: list[str]) -> str:
    left, top, right, bottom = page
    wide, high = right - left + 2 * MARGIN, bottom - top + 2 * MARGIN
    corner = f"{left - MARGIN:g}", f"{top - MARGIN:g}"
    box = f"{' '.join(corner)} {wide:g} {high:g}"
    place = f'x="{corner[0]}" y="{corner[1]}" width="{wide:g}" height="{high:g}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc"'
        f' viewBox="{box}" width="{wide:g}" height="{high:g}" data-cell="{escape(cell.name)}">'
    )
    title = f'<title id="title">One step of the cell {escape(cell.name)}</title>'
    described = f"{cell.doc} Its equations: {'; '.join(str(cell).splitlines())}."
    desc = f'<desc id="desc">{escape(described.strip())}</desc>'
    back = f'<rect {place} fill="#fff"/>'
    return "\n".join([head, title, desc, f"<style>{STYLE}</style>", back, *parts, "</svg>", ""])


def _row(row: Row) -> list[str]:
    """The nodes of a row; a sum that also subtracts shows a sign at each arrow instead of one."""
    x, drawn = row.x, []
    for node in row.nodes:
        first = node is row.nodes[0]
        middle = x + width(node) / 2
        signs = {row.y + at: use.minus for use, at in row.ports.items()} if first else {}
        text = _text(node.label, middle, row.y)
        if any(signs.values()):
            labels = {y: Label("−" if minus else "+", upright=True) for y, minus in signs.items()}
            text = "".join(_text(label, middle, y) for y, label in labels.items())
        drawn.append(_node(node, middle, row.y, 2 * row.half if first else NODE_HEIGHT, text))
        x += width(node) + LINK
    return drawn


def _node(node: GraphNode, x: float, y: float, high: float, text: str) -> str:
    terms = " ".join(f"{term.path}={term.token}" for term in node.terms)
    data = f'data-key="{escape(node.key)}"'
    data += f' data-terms="{escape(terms)}"' if terms else ""
    data += f' data-carries="{escape(node.carries)}"' if node.carries else ""
    shape = _shape(node.kind, x, y, width(node), high)
    return f'<g class="node {node.kind}" {data}>{shape}{text}</g>'


def _shape(kind: str, x: float, y: float, wide: float, high: float) -> str:
    if kind not in ROUND:
        return ""
    place = f'x="{x - wide / 2:g}" y="{y - high / 2:g}" width="{wide:g}" height="{high:g}"'
    return f'<rect class="shape" {place} rx="{ROUND[kind]}"/>'


def _text(label: Label, x: float, y: float) -> str:
    style = "" if label.upright or len(label.text) > 1 else ' class="italic"'
    main = f"<tspan{style}>{escape(label.text)}</tspan>"
    index = "".join(
        f'<tspan class="index italic" dy="{shift}">{escape(part)}</tspan>'
        for part, shift in ((label.above, -6), (label.below, 4 if not label.above else 10))
        if part
    )
    return f'<text x="{x:g}" y="{y + BASELINE:g}">{main}{index}</text>'


def _class(graph: CellGraph, net: str) -> str:
    kind = graph.nodes[net].kind
    return f" {kind}" if kind in ("state", "input") else ""


def _use(graph: CellGraph, use: Use, line: list[Point], routes: Routes) -> str:
    """One arrow; its data attributes name the term it carries, its source and its target."""
    kind = _class(graph, use.source)
    data = (
        f'data-from="{escape(use.source)}" data-to="{escape(use.target)}"'
        f' data-place="{use.place}" data-path="{escape(use.path)}"'
    )
    data += f' data-reads="{escape(use.reads)}"' if use.reads else ""
    x, y = line[-1]
    arrow = f'<path class="head{kind}" d="M{x:g} {y:g}l-7 -3.5v7z"/>'
    drawn = _path(line, routes.branches.get(use.source, set()))
    return f'<g {data}><path class="use{kind}" d="{drawn}"/>{arrow}</g>'


def _path(line: list[Point], branches: set[Point]) -> str:
    """The line with its corners rounded, but for those where it parts from another."""
    drawn = [f"M{line[0][0]:g} {line[0][1]:g}"]
    for before, (x, y), after in zip(line, line[1:], line[2:], strict=False):
        radius = min(CORNER, *(abs(a - b) / 2 for a, b in _legs(before, (x, y), after)))
        if (x, y) in branches:
            drawn.append(f"L{x:g} {y:g}")
            continue
        start, end = _towards((x, y), before, radius), _towards((x, y), after, radius)
        drawn.append(f"L{start[0]:g} {start[1]:g}Q{x:g} {y:g} {end[0]:g} {end[1]:g}")
    return "".join([*drawn, f"L{line[-1][0]:g} {line[-1][1]:g}"])


def _legs(before: Point, corner: Point, after: Point) -> list[tuple[float, float]]:
    legs = [*zip(before, corner, strict=True), *zip(corner, after, strict=True)]
    return [(a, b) for a, b in legs if a != b]


def _towards(corner: Point, other: Point, by: float) -> Point:
    (x, y), (to_x, to_y) = corner, other
    step_x, step_y = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
    return x + by * step_x, y + by * step_y


def _dot(graph: CellGraph, net: str, at: Point) -> str:
    return f'<circle class="dot{_class(graph, net)}" cx="{at[0]:g}" cy="{at[1]:g}" r="3"/>'


def _legend(graph: CellGraph, left: float, right: float, y: float) -> tuple[list[str], float]:
    """A legend of the shapes in the picture; and where it ends."""
    kinds = {node.kind for node in graph.nodes.values()}
    parts, x = [], left
    for kind, meaning in LEGEND_TEXTS.items():
        if kind in kinds:
            wide = 54 + 6.2 * len(meaning)
            if x > left and x + wide > right:
                x, y = left, y + NODE_HEIGHT
            sample = _text(Label(SAMPLES[kind], upright=kind not in ITALIC), x + 14, y)
            shape = _shape(kind, x + 14, y, 28, 22)
            words = f'<text x="{x + 34:g}" y="{y + BASELINE:g}">{meaning}</text>'
            parts.append(f'<g class="legend {kind}">{shape}{sample}{words}</g>')
            x += wide
    return parts, y + NODE_HEIGHT / 2
