"""The recipes of docs/recipes.md run as they stand, on real data where it is at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from house import ROOT

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch
PAGE = ROOT / "docs" / "recipes.md"
DATA = ROOT.parent / "shared" / "data"
PARTS = re.findall(
    r"^## ([^\n]+)\n.*?^```py\n(.*?)^```\n\n```text\n(.*?)^```",
    PAGE.read_text("utf-8"),
    re.M | re.S,
)
RECIPES = {title: code for title, code, _ in PARTS}
PRINTED = {title: text for title, _, text in PARTS}


def words(text: str) -> list[str]:
    """Each line without its numbers and lists: they differ in the last digits, or in rank."""
    return [re.sub(r"(-?\d+(\.\d+)?%?[, ]*)+", "#", line).strip() for line in text.splitlines()]


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_learns_what_it_says(
    title: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = RECIPES[title]
    for name in re.findall(r'open\("data/([^"]+)"', code):
        if not (DATA / name).is_file():
            pytest.skip(f"{name} is not at hand")
    if "pictures" in code:
        pytest.importorskip("matplotlib")
    if "data/" in code:
        (tmp_path / "data").symlink_to(DATA)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), {"__name__": "recipe"})
    assert words(capsys.readouterr().out) == words(PRINTED[title])


def test_all_three_recipes_are_found() -> None:
    assert len(RECIPES) == 3
    assert sum("assert " in code for code in RECIPES.values()) == 3
