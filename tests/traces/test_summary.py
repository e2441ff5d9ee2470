"""The table of a trace: right numbers, escaped text, no script."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
from test_recorded import made

from grus.traces.summary import BINS, ROWS, html, summaries


def test_the_numbers_are_those_of_the_valid_steps() -> None:
    z = np.arange(36.0).reshape(2, 1, 2, 3, 3)
    z[0, 0, 1, 2] = np.nan
    first, second = summaries(made(values={"z": z}))
    valid = z[0][~np.isnan(z[0])]
    assert (first.name, first.layer, first.direction) == ("z", 0, 0)
    assert (first.low, first.mean, first.high) == (valid.min(), valid.mean(), valid.max())
    assert first.strip == (z[0, 0, 0].mean(), np.nanmean(z[0, 0, 1]))
    assert (second.layer, second.low, second.high) == (2, 18, 35)


def test_long_sequences_are_averaged_and_empty_ones_have_no_numbers() -> None:
    z = np.arange(1000.0).reshape(1, 1, 1000, 1, 1)
    long = {"layers": [0], "steps": range(1000), "units": [0], "lengths": [1000], "tokens": None}
    (one,) = summaries(made(**long, values={"z": z}, start={}))
    assert len(one.strip) == BINS
    assert np.isclose(np.mean(one.strip), 499.5, atol=1)
    assert one.strip[0] < one.strip[-1]
    empty = made(steps=[], tokens=(), values={"z": np.zeros((2, 1, 0, 3, 3))})
    assert all(np.isnan([s.low, s.mean, s.high]).all() and s.strip == () for s in summaries(empty))
    assert "nan" in html(empty)
    missing = made(values={"z": np.full((2, 1, 2, 3, 3), np.nan)})
    assert "#999999" in html(missing)


class Tags(HTMLParser):
    """Every tag opened, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("br",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_tokens_are_text_and_never_markup() -> None:
    hostile = "<script>alert(1)</script>"
    page = made(tokens=(hostile, '"><img src=x onerror=alert(2)>'))._repr_html_()
    seen = Tags()
    seen.feed(page)
    seen.close()
    assert seen.open == []
    assert seen.tags == {
        *("div", "b", "br", "code", "table", "tr", "th", "td", "svg", "rect", "title")
    }  # fmt: skip
    assert seen.attributes == {"width", "height", "x", "fill"}
    assert hostile in seen.text


def test_a_table_of_many_layers_ends() -> None:
    count = ROWS + 5
    shape = (count, 1, 2, 3, 3)
    many = made(layers=range(count), values={"z": np.zeros(shape)}, start={})
    assert "and 5 more" in html(many)
    assert html(many).count("<tr>") == ROWS + 1
