"""Diagrams in a browser: every label fits its shape and the page, in the fonts that it has."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cells import every_cell
from grus.diagram import svg
from grus.equations import Cell

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
SCRIPT = """
const svg = document.querySelector("svg"), page = svg.viewBox.baseVal, wrong = [];
for (const text of svg.querySelectorAll("text")) {
  const t = text.getBBox(), node = text.closest("g.node");
  const shape = node && node.querySelector("rect.shape"), box = shape ? shape.getBBox() : page;
  if (t.width == 0 || t.x < box.x || t.x + t.width > box.x + box.width
      || t.y < box.y || t.y + t.height > box.y + box.height) wrong.push(text.textContent);
}
document.title = JSON.stringify(wrong);
"""


def labels_that_do_not_fit(picture: str, folder: Path) -> list[str]:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    page = folder / "page.html"
    page.write_text(f"<!doctype html><title>-</title>{picture}<script>{SCRIPT}</script>", "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    done = subprocess.run(
        [browser, *options, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title
    found = json.loads(html.unescape(title[1]))
    assert isinstance(found, list)
    return found


@every_cell
def test_labels_fit(cell: Cell, tmp_path: Path) -> None:
    assert labels_that_do_not_fit(svg(cell), tmp_path) == []


def test_a_label_that_does_not_fit_is_seen(tmp_path: Path) -> None:
    picture = svg(Cell.parse("h_next = tanh(W.a @ x + h)"))
    longer = picture.replace(">tanh<", ">hyperbolic tangent<", 1)
    assert labels_that_do_not_fit(longer, tmp_path) == ["hyperbolic tangent"]
