"""The report in a real browser: it draws, answers, sends nothing, and runs nothing of a token."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from grus.pictures import report
from traces_by_hand import trace

api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("plotly")
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<a href='javascript:window.hacked=1'>x</a>",
    "<b>B</b>",
    "$x$",
    "\n",
)


class Opened:
    """A report in a page of a laptop's size; whatever it complains of or asks for is kept."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.page = browser.new_page(viewport={"width": 1366, "height": 768})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready=yes]", timeout=20_000)

    def heard(self, path: Path) -> list[str]:
        """What was said, and what was asked for beside the file itself."""
        return self.complaints + [url for url in self.requests if url != path.as_uri()]

    def traces(self, plot: int = 0) -> list[dict[str, Any]]:
        """Type, name and first line of what a plot holds."""
        script = """plot => document.querySelectorAll('.plot')[plot]._fullData.map(t =>
            ({type: t.type, name: t.name, y: Array.from(t.y), z: t.z && t.z.map(r => [...r])}))"""
        found = self.page.evaluate(script, plot)
        assert isinstance(found, list)
        return found

    def hovered(self, plot: int, row: float, step: float) -> str:
        """What the label says at a place of the heat map, both from 0 to 1."""
        area = self.page.locator(".plot").nth(plot).locator(".nsewdrag").first.bounding_box()
        at = (area["x"] + step * area["width"], area["y"] + row * area["height"])
        self.page.mouse.move(at[0] - 3, at[1])
        self.page.mouse.move(*at)
        self.page.wait_for_selector(".hovertext")
        return " ".join(self.page.locator(".hovertext text").all_text_contents())


def test_it_draws_every_section_without_a_word(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(trace(rows=2, layers=2, directions=2, tokens=tuple("abc de")), path)
    opened = Opened(browser, path)
    assert opened.page.locator("main h2").all_inner_texts() == [
        f"Layer {k}, {way}" for k in range(2) for way in ("forward", "backward")
    ]
    assert opened.page.locator(".plot svg.main-svg").count() >= 4
    buttons = opened.page.locator(".plot").first.locator(".modebar-btn")
    titles = [button.get_attribute("data-title") for button in buttons.all()]
    assert titles == ["Download plot as a PNG", "Zoom", "Pan", "Reset axes"]  # none that shares
    assert opened.heard(path) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_no_wider_than_the_screen(browser: Any, tmp_path: Path, width: int) -> None:
    path = tmp_path / "report.html"
    report.write(trace(rows=2, layers=2, tokens=tuple("abc de")), path)
    opened = Opened(browser, path)
    opened.page.set_viewport_size({"width": width, "height": 800})
    opened.page.reload()
    opened.page.wait_for_selector("body[data-ready=yes]", timeout=20_000)
    opened.page.click("summary")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.locator(".wide table").count() == 1
    heat = opened.page.locator(".nsewdrag").first.bounding_box()
    assert heat["width"] > 150  # beside the colour bar


def test_value_row_order_and_unit_can_be_chosen(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    made = trace(rows=2, layers=2)
    report.write(made, path)
    opened = Opened(browser, path)
    for name, row, order, unit in (("z", 0, "0", 4), ("h", 1, "1", 2), ("r", 1, "0", 0)):
        opened.page.select_option("#value", label=name)
        opened.page.select_option("#row", str(row))
        opened.page.select_option("#order", order)
        opened.page.select_option("#unit", str(unit))
        heat, *lines = opened.traces(1)
        expected = made.select(name, layer=1, direction=0, batch=row).T
        shown = expected[::-1] if order == "0" else expected
        assert [pytest.approx(list(line), rel=1e-6) for line in shown] == heat["z"]
        for line, value in zip(lines, made.names, strict=True):
            y = made.select(value, layer=1, direction=0, batch=row, unit=unit)
            assert line["name"] == value
            assert line["y"] == pytest.approx(list(y), rel=1e-6)
    assert opened.heard(path) == []


def test_pointing_shows_token_step_unit_and_value(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    made = trace(tokens=tuple("abcdef"))
    report.write(made, path)
    opened = Opened(browser, path)
    said = opened.hovered(0, 0.1, 0.9)  # the first unit of five, the last step of six
    value = f"{made.select('z', layer=0, direction=0, time=5, batch=0, unit=4):.4g}"
    assert all(part in said for part in ("step 5", "“f”", "unit 4", f"z = {value}"))
    assert opened.heard(path) == []


def test_a_click_picks_the_unit(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(trace(), path)
    opened = Opened(browser, path)
    assert opened.page.input_value("#unit") == "4"
    assert "unit 0" in opened.hovered(0, 0.9, 0.5)
    opened.page.mouse.down()
    opened.page.wait_for_timeout(100)  # plotly sees no click that is faster than a person's
    opened.page.mouse.up()
    api.expect(opened.page.locator("#unit")).to_have_value("0")
    assert opened.heard(path) == []


def test_hostile_tokens_are_labels_and_nothing_else(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(trace(tokens=HOSTILE), path)
    opened = Opened(browser, path)
    assert "<b>B</b>" in opened.hovered(0, 0.1, 0.58)
    labels = opened.page.locator(".xtick text").all_text_contents()
    assert labels == ["</script><s…", "<img␣src=x␣…", "<a␣href='ja…", "<b>B</b>", "$x$", "↵"]
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator(".plot a, .plot b").count() == 0
    assert opened.heard(path) == []


def test_what_a_page_asks_for_would_be_seen(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(trace(), path)
    text = path.read_text("utf-8").replace("</header>", '</header><img src="http://127.0.0.1:9/a">')
    path.write_text(text, "utf-8")
    opened = Opened(browser, path)
    assert opened.heard(path)


def test_it_can_be_worked_by_keys(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(trace(), path)
    opened = Opened(browser, path)
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.id") == "value"
    opened.page.keyboard.press("ArrowDown")
    api.expect(opened.page.locator("#equation")).to_have_text(re.compile("^h = "))
    assert opened.heard(path) == []
