"""The report as text: what is in it, what is cut, what is escaped."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus import InputError
from grus.equations import CELLS
from grus.pictures import report
from grus.traces.measures import HEAD, measures
from traces_by_hand import trace

pytest.importorskip("plotly")
HOSTILE = ("</script>", "<script>alert(1)</script>", "<!--", "\u2028", '"', "&lt;")


class Page(HTMLParser):
    """The tags of a page, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


def data_of(page: str) -> dict[str, Any]:
    found = json.loads(Page(page).scripts[0])
    assert isinstance(found, dict)
    return found


def numbers(data: dict[str, Any], name: str, *shape: int) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(data["values"][name]), "<f4").reshape(shape)


def test_the_numbers_of_every_layer_direction_row_and_unit_are_in_it() -> None:
    made = trace(steps=4, units=3, rows=2, layers=2, directions=2, lengths=[4, 3])
    data = data_of(report.html(made))
    assert [s["heading"] for s in data["sections"]] == [
        "Layer 0, forward",
        "Layer 0, backward",
        "Layer 1, forward",
        "Layer 1, backward",
    ]
    for name in made.names:
        z = numbers(data, name, 4, 2, 3, 4)
        expected = made[name].reshape(4, 4, 2, 3).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(z, expected.astype(np.float32))
    assert data["notes"] == []


def test_units_are_sorted_by_memory_and_the_order_is_named() -> None:
    (section,) = data_of(report.html(trace()))["sections"]
    assert (section["order"], section["sorted_by"]) == ([4, 3, 2, 1, 0], "longest memory on top")
    (section,) = data_of(report.html(trace(cell=CELLS["rnn"], names=("h",))))["sections"]
    assert (section["order"], section["sorted_by"]) == ([0, 1, 2, 3, 4], "")


def test_a_hostile_token_stays_text() -> None:
    page = report.html(trace(tokens=HOSTILE), title="<b>a & b</b>")
    read = Page(page)
    assert [tag for tag, _ in read.tags].count("script") == 3
    assert data_of(page)["tokens"][0] == "</script>"
    assert "<h1>&lt;b&gt;a &amp; b&lt;/b&gt;</h1>" in page


def test_without_the_escape_a_hostile_token_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_json", json.dumps)
    page = report.html(trace(tokens=HOSTILE))
    assert [tag for tag, _ in Page(page).tags].count("script") > 3


def test_nothing_is_fetched() -> None:
    """No tag names an address, and the policy forbids what a script might try."""
    tags = Page(report.html(trace())).tags
    assert not [a for _, a in tags if {"src", "href", "action", "srcset"} & set(a)]
    (policy,) = [a["content"] for t, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none';")
    assert "http" not in str(policy)


def test_a_long_trace_is_cut_and_says_so() -> None:
    made = trace(steps=1000, units=4, rows=1)
    page = report.html(made, limit=1200)
    data = data_of(page)
    assert len(data["steps"]) == 100  # 1200 numbers / (3 values x 4 units)
    np.testing.assert_array_equal(
        numbers(data, "z", 1, 1, 4, 100)[0, 0], made["z"][0, 0, :100, 0].T.astype(np.float32)
    )
    assert re.search(r'class="note" role="note">Only the first 100 of 1,000 recorded steps', page)


def test_a_wide_trace_with_many_rows_is_cut_and_says_so() -> None:
    page = report.html(trace(steps=2, units=600, rows=12, tokens=("a", "b")))
    data = data_of(page)
    assert (len(data["rows"]), len(data["names"][0]["units"])) == (8, 512)
    assert max(data["sections"][0]["order"]) == 511
    assert data["notes"] == [
        "Only the first 512 of 600 recorded units are on this page.",
        "Only the first 8 of 12 rows are on this page.",
    ]


def test_the_size_is_plotly_and_the_numbers() -> None:
    from plotly.offline import get_plotlyjs

    made = trace(steps=500, units=100)
    size = len(report.html(made)) - len(get_plotlyjs())
    assert size < 500 * 100 * 3 * 4 * 4 / 3 + 40_000


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    report.write(trace(), tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8") == report.html(trace())
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    for path in (tmp_path / "a.txt", tmp_path / "none" / "a.html"):
        with pytest.raises(InputError, match="a picture must be a file"):
            report.write(trace(), path)


def test_the_measures_are_a_table_where_all_was_recorded() -> None:
    made = trace()
    page = report.html(made)
    for row in [HEAD, *measures(made).table()]:
        mark = "th" if row == HEAD else "td"
        cells = "".join(f"<{mark}>{escape(text)}</{mark}>" for text in row)
        assert f"<tr>{cells}</tr>" in page
    assert "<table>" not in report.html(trace(names=("z", "h")))


def test_nothing_recorded_is_said() -> None:
    with pytest.raises(InputError, match="every row ended before the recorded steps"):
        report.html(trace(lengths=[0]))
    with pytest.raises(InputError, match="limit must be at least 1"):
        report.html(trace(), limit=0)
