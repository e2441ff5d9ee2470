"""A worksheet as HTML: one file, no script, no other address, escaped, every number in it."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

import cells
from grus.equations import CELLS
from grus.worksheet.format import render
from grus.worksheet.preamble import Preamble
from grus.worksheet.wording import decimal
from grus.worksheet.worksheet import Worksheet, worksheet

HOSTILE = "<script>alert(1)</script>&\"'"
VOID = {"meta"}


class Page(HTMLParser):
    """Tags, attributes and words of a page; a tag that is not closed in turn fails."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def sheet(token: str = "e") -> Worksheet:
    rng = np.random.default_rng(2)
    cell = CELLS["lstm"]
    weights = cells.draw_weights(cell, cells.sizes(cell, 3, 20), rng)
    return worksheet(cell, weights, rng.normal(size=(2, 3)), units=[0, 19], tokens=[token, token])


def page(token: str = "e") -> str:
    head = Preamble("x: 2 steps", (HOSTILE,), ("gate", HOSTILE), (("i", HOSTILE),))
    return render(head, sheet(token), form="html")


def test_it_is_one_file_without_script_or_other_address() -> None:
    found = Page(page())
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert {value for name, value in found.attributes if name == "href"} == {"#step-1", "#step-2"}
    assert "url(" not in page()
    assert "://" not in page()


def test_strange_words_are_words() -> None:
    found = Page(page(HOSTILE))
    assert found.tags.count("script") == 0
    assert "".join(found.words).count("<script>") >= 5


@pytest.mark.parametrize("form", ["html", "text", "markdown", "latex"])
def test_every_value_of_the_units_asked_for_is_printed(form: str) -> None:
    head = Preamble("x: 2 steps", (), ("gate",), (("i",),))
    printed = render(head, sheet(), form=form)  # type: ignore[arg-type]
    for step in sheet().steps:
        for equation in step.equations:
            for line in equation.lines:
                value = decimal(line.value, 5)
                assert (value if form != "latex" else value.partition("e")[0]) in printed
    assert ("\\cdots" if form == "latex" else "...") in printed


def test_a_notebook_shows_the_steps() -> None:
    shown = sheet(HOSTILE)._repr_html_()
    found = Page(shown)
    assert found.tags.count("section") == 2
    assert "html" not in found.tags
    assert "script" not in found.tags
    assert "the compiled kernels in float64" in "".join(found.words)
