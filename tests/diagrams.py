"""Reading a drawn diagram back: its terms and arrows, and where the shapes and lines are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise, takewhile
from xml.etree import ElementTree

from grus.equations import OPERATORS, Apply, Const, Expr, Input, Name, State, Weight

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A node as drawn: its kind, what it says, its box (none for a bare name), its terms."""

    kind: str
    text: str
    box: tuple[float, float, float, float] | None
    terms: tuple[tuple[str, str], ...]
    carries: str


@dataclass(frozen=True)
class Arrow:
    """A use as drawn."""

    source: str
    target: str
    place: int
    path: str
    reads: str
    line: tuple[Point, ...]


@dataclass(frozen=True)
class Drawing:
    """All that an SVG of a cell says."""

    shapes: dict[str, Shape]
    arrows: list[Arrow]
    frame: tuple[float, float, float, float]
    root: ElementTree.Element


def read(svg: str) -> Drawing:
    """Read the SVG. Every key must be there once."""
    root = ElementTree.fromstring(svg)
    shapes: dict[str, Shape] = {}
    arrows = []
    for group in root.iter(f"{SVG}g"):
        if "data-key" in group.attrib:
            assert group.attrib["data-key"] not in shapes
            shapes[group.attrib["data-key"]] = _shape(group)
        elif "data-path" in group.attrib:
            arrows.append(_arrow(group))
    frame = next(r for r in root.iter(f"{SVG}rect") if r.get("class") == "frame")
    return Drawing(shapes, arrows, _box(frame), root)


def _box(rect: ElementTree.Element) -> tuple[float, float, float, float]:
    x, y, width, height = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def _shape(group: ElementTree.Element) -> Shape:
    rect = group.find(f"{SVG}rect")
    terms = tuple(tuple(t.split("=", 1)) for t in group.get("data-terms", "").split())
    text = "|".join("".join(t.itertext()) for t in group.iter(f"{SVG}text"))
    box = None if rect is None else _box(rect)
    kind = group.attrib["class"].split()[1]
    return Shape(kind, text, box, terms, group.get("data-carries", ""))  # type: ignore[arg-type]


def _arrow(group: ElementTree.Element) -> Arrow:
    path = next(p for p in group.iter(f"{SVG}path") if p.attrib["class"].startswith("use"))
    data = group.attrib
    return Arrow(
        data["data-from"],
        data["data-to"],
        int(data["data-place"]),
        data["data-path"],
        data.get("data-reads", ""),
        tuple(_corners(path.attrib["d"])),
    )


def _corners(d: str) -> Iterator[Point]:
    """The corners of a path; a rounded one is the middle point of its Q."""
    for command, numbers in re.findall(r"([MLQ])([^MLQ]*)", d):
        values = [float(n) for n in numbers.split()]
        yield (values[0], values[1])
        if command == "Q":
            yield (values[2], values[3])


def terms(expr: Expr, path: str) -> Iterator[tuple[str, str]]:
    """Every term of an expression with its path, as a diagram must show it: what, not how."""
    yield path, token(expr)
    for k, part in enumerate(expr.args if isinstance(expr, Apply) else ()):
        yield from terms(part, f"{path}.{k}")


def token(expr: Expr) -> str:
    """A term's own word: an operator, a weight, a number, or the name that is read."""
    if isinstance(expr, Const):
        return str(float(expr.value))
    if isinstance(expr, Apply):
        return expr.op
    if isinstance(expr, Input) and expr.name != "x":
        return f"{expr.per}.{expr.name}"
    return expr.name  # type: ignore[attr-defined]


def drawn_terms(drawing: Drawing) -> Counter[tuple[str, str]]:
    """Every term in the drawing: in nodes, and the references on arrows."""
    found: Counter[tuple[str, str]] = Counter()
    for shape in drawing.shapes.values():
        found.update((path, _number(word)) for path, word in shape.terms)
    found.update((a.path, a.reads) for a in drawing.arrows if a.reads)
    return found


def _number(word: str) -> str:
    try:
        return str(float(word))
    except ValueError:
        return word


def rebuild(drawing: Drawing) -> dict[str, Expr]:
    """The equations, from what the drawing says about its nodes and arrows."""
    words = dict(drawn_terms(drawing).keys())
    kinds = {s.carries: s.kind for s in drawing.shapes.values() if s.carries}
    return {path: _expression(path, words, kinds) for path in words if "." not in path}


def _expression(path: str, words: dict[str, str], kinds: dict[str, str]) -> Expr:
    word = words[path]
    if word in OPERATORS:
        args = takewhile(words.__contains__, (f"{path}.{k}" for k in count()))
        return Apply(word, tuple(_expression(arg, words, kinds) for arg in args))
    if word in kinds:
        return _reference(word, kinds[word])
    try:
        return Const(float(word))
    except ValueError:
        return Weight(*word.split("."))


def _reference(word: str, kind: str) -> Expr:
    if kind == "state":
        return State(word)
    if kind == "input":
        per, _, name = word.rpartition(".")
        return Input(name, per or "step")  # type: ignore[arg-type]
    return Name(word)


def segments(arrow: Arrow) -> Iterator[tuple[Point, Point]]:
    """The straight pieces of an arrow's line."""
    yield from pairwise(arrow.line)
