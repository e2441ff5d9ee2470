"""The diagram is the equations: read back from the picture they are the cell again."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from cells import ALL_CELLS, every_cell
from diagrams import Drawing, drawn_terms, read, rebuild, segments, terms
from grus.diagram import svg
from grus.equations import Cell
from grus.zoo import PUBLISHED
from house import ROOT
from random_cells import cells

DRAWN = ALL_CELLS | {name: known.cell for name, known in PUBLISHED.items()}
TOUCH = 0.02  # coordinates are written with six digits


def check(cell: Cell) -> None:
    """All that must hold of any cell's diagram."""
    drawing = read(svg(cell))
    check_terms(drawing, cell)
    check_arrows(drawing)
    check_places(drawing)


def check_terms(drawing: Drawing, cell: Cell) -> None:
    """Every term of every equation once, and nothing else; the equations come back."""
    expected = Counter(term for name, expr in cell for term in terms(expr, name))
    assert drawn_terms(drawing) == expected
    assert rebuild(drawing) == dict(cell.equations)
    carried = Counter(s.carries for s in drawing.shapes.values() if s.kind not in "state input")
    assert {name: n for name, n in carried.items() if name} == {name: 1 for name, _ in cell}


def check_arrows(drawing: Drawing) -> None:
    """Each arrow begins at what it says it carries and ends at what uses it."""
    for arrow in drawing.arrows:
        source, target = drawing.shapes[arrow.source], drawing.shapes[arrow.target]
        if arrow.reads:
            assert source.carries == arrow.reads
        elif "=" not in arrow.path:
            assert arrow.path in dict(source.terms)
        parent = arrow.path.rpartition(".")[0]
        if target.kind == "value":
            assert arrow.path == target.carries
        elif target.kind != "out":
            assert parent in dict(target.terms)
        (x, y), (to_x, to_y) = arrow.line[0], arrow.line[-1]
        if source.box:
            assert abs(x - source.box[2]) < TOUCH
            assert source.box[1] < y < source.box[3]
        if target.box:
            assert abs(to_x - target.box[0]) < TOUCH
            assert target.box[1] < to_y < target.box[3]


def check_places(drawing: Drawing) -> None:
    """States enter at the left, leave at the right, inputs come from below; nothing overlaps."""
    left, _, right, bottom = drawing.frame
    for arrow in drawing.arrows:
        kind = drawing.shapes[arrow.source].kind
        if kind == "state":
            assert arrow.line[0][0] < left
        if kind == "input":
            assert arrow.line[0][1] > bottom
        if drawing.shapes[arrow.target].kind == "out":
            assert arrow.line[-1][0] > right
    boxes = [s.box for s in drawing.shapes.values() if s.box]
    for k, one in enumerate(boxes):
        assert not any(overlap(one, other) for other in boxes[:k])
        assert not any(
            overlap(one, (*map(min, a, b), *map(max, a, b)))  # type: ignore[arg-type]
            for arrow in drawing.arrows
            for a, b in segments(arrow)
        )
    check_lines(drawing)


def check_lines(drawing: Drawing) -> None:
    """Lines of two sources may cross but never lie on each other, so that no use is hidden."""
    lines = [(a.source, piece) for a in drawing.arrows for piece in segments(a)]
    for k, (source, (a, b)) in enumerate(lines):
        for other, (c, d) in lines[:k]:
            for axis in (0, 1):
                same = abs(a[axis] - b[axis]) + abs(c[axis] - d[axis]) + abs(a[axis] - c[axis])
                along = 1 - axis
                shared = min(max(a[along], b[along]), max(c[along], d[along])) - max(
                    min(a[along], b[along]), min(c[along], d[along])
                )
                assert source == other or same > TOUCH or shared <= TOUCH


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """True when two boxes (or a box and a line) share more than an edge."""
    return all(
        min(one[k + 2], other[k + 2]) - max(one[k], other[k]) > (TOUCH if k == 0 else -TOUCH)
        for k in (0, 1)
    )


@pytest.mark.parametrize("name", DRAWN)
def test_every_term_is_drawn_once_where_its_arrows_say(name: str) -> None:
    check(DRAWN[name])


@settings(max_examples=40, deadline=None)
@given(cells())
def test_random_cells_can_be_read_back_from_their_diagrams(cell: Cell) -> None:
    check(cell)


def test_a_cell_may_hand_a_state_on_as_it_is() -> None:
    check(Cell.parse("h_next = tanh(W.a @ x + c)\nc_next = h"))
    check(Cell.parse("c_next = tanh(W.a @ x + c)\ny = c_next"))


def test_a_value_that_nobody_uses_is_drawn() -> None:
    check(Cell.parse("v = tanh(W.b @ x + h)\nh_next = tanh(W.a @ x + h)", unused=True))


def test_a_cell_that_reads_no_state_is_drawn() -> None:
    check(Cell.parse("h_next = tanh(W.a @ x)"))


@pytest.mark.parametrize("name", ["sep_conv_gru", "dcgru"])
def test_a_gather_is_drawn_with_its_numbers(name: str) -> None:
    words = {
        s.text for s in read(svg(PUBLISHED[name].cell)).shapes.values() if s.kind == "function"
    }
    numbers = {"patches(·, 1, 5)", "patches(·, 5, 1)", "neighbours(·, 1)", "neighbours"}
    assert len(words & numbers) == 2


@every_cell
def test_what_a_node_shows_is_its_term(cell: Cell) -> None:
    drawing = read(svg(cell))
    for shape in drawing.shapes.values():
        if shape.kind in ("product", "vector"):
            assert shape.text.rstrip("⊤") == shape.terms[-1][1].replace(".", "")
        for _, word in shape.terms:
            if re.fullmatch(r"-?\d.*", word):
                assert word.replace("-", "−") in shape.text


def test_a_difference_shows_its_signs_at_its_arrows() -> None:
    drawing = read(svg(Cell.parse("h_next = W.a @ x - U.a @ h + b.a")))
    shape = drawing.shapes["h_next"]
    by_height = sorted((a.line[-1][1], a.path) for a in drawing.arrows if a.target == "h_next")
    signs = {"h_next.0.0": "+", "h_next.0.1": "−", "h_next.1": "+"}
    assert shape.text == "|".join(signs[path] for _, path in by_height)


def test_numerator_stands_above_denominator() -> None:
    drawing = read(svg(ALL_CELLS["odd"]))
    for key, shape in drawing.shapes.items():
        if ("h_next", "div") not in shape.terms and any(w == "div" for _, w in shape.terms):
            into = sorted((a.line[-1][1], a.place) for a in drawing.arrows if a.target == key)
            assert [place for _, place in into] == [0, 1]


def test_the_picture_can_be_read_without_seeing_it() -> None:
    root = read(svg(ALL_CELLS["gru"])).root
    assert root.attrib["role"] == "img"
    named = {e.attrib["id"]: e.text or "" for e in root if "id" in e.attrib}
    assert root.attrib["aria-labelledby"].split() == list(named)
    described = named[root.attrib["aria-labelledby"].split()[1]]
    assert all(line in described for line in str(ALL_CELLS["gru"]).splitlines())


def test_hostile_names_and_texts_stay_text() -> None:
    cell = Cell("<script>", ALL_CELLS["rnn"].equations, 'a "doc" & <b>more</b>')
    root = read(svg(cell)).root
    assert not [e for e in root.iter() if e.tag.endswith(("script", "b"))]


# Deliberate breaks: a picture that says something else than the formula is refused.


def broken(change: str, by: str) -> Drawing:
    text = svg(ALL_CELLS["gru"])
    assert change in text
    return read(text.replace(change, by, 1))


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ('data-terms="r=sigmoid"', 'data-terms="r=tanh"'),
        ('data-terms="r=sigmoid"', ""),
        ("=W.r", "=W.z"),
        ('data-path="h_next.0.0" data-reads="z"', 'data-path="h_next.0.0" data-reads="r"'),
        ('data-path="h_next.0.1"', 'data-path="h_next.0.0"'),
    ],
)
def test_a_changed_term_is_seen(change: str, by: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_terms(broken(change, by), ALL_CELLS["gru"])


def test_a_term_drawn_twice_is_seen() -> None:
    text = svg(ALL_CELLS["gru"])
    node = re.search(r'<g class="node function".*?</g>', text)
    assert node
    twice = text.replace(node[0], node[0] + node[0].replace('data-key="', 'data-key="again '))
    with pytest.raises(AssertionError):
        check_terms(read(twice), ALL_CELLS["gru"])


def test_an_arrow_from_elsewhere_is_seen() -> None:
    with pytest.raises(AssertionError):
        check_arrows(broken('data-from="value z"', 'data-from="value r"'))


def test_a_moved_node_is_seen() -> None:
    text = svg(ALL_CELLS["gru"])
    first = re.search(r'class="shape" x="([^"]*)"', text)
    assert first
    moved = text.replace(f'class="shape" x="{first[1]}"', 'class="shape" x="1"', 1)
    with pytest.raises(AssertionError):
        check_arrows(read(moved))


def test_the_picture_in_the_documentation_is_drawn_from_todays_equations() -> None:
    """`grus show gru --stage diagram --out docs/gru.svg` makes it anew."""
    assert (ROOT / "docs" / "gru.svg").read_text("utf-8") == svg(ALL_CELLS["gru"])


def test_it_is_well_formed_xml() -> None:
    for cell in ALL_CELLS.values():
        ElementTree.fromstring(svg(cell))
