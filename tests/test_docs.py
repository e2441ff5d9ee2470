"""Documentation runs: every Python block of README.md and docs/ is executed, every command too.

One file, one namespace: its ```python blocks run in order in an empty folder. In a ```console
block a line that begins with "$ " is a `grus` command, run without a shell; what follows is its
output, compared line by line, where a line "..." stands for any number of lines. Commands start in
an empty folder, or, after the mark `WITH_FILES`, in that of the Python blocks above it.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import forked
from house import ROOT

FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
SECONDS = 300
WITH_FILES = "<!-- The commands read what the Python above wrote. -->"


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the number of its first line."""

    language: str
    text: str
    line: int


def blocks(markdown: str) -> Iterator[Block]:
    for match in FENCE.finditer(markdown):
        yield Block(match[1], match[2], markdown.count("\n", 0, match.start(2)) + 1)


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the output that is expected of it."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, *output = part.splitlines()
        while command.endswith("\\"):
            command = command[:-1] + output.pop(0)
        yield command, output


def matches(expected: list[str], actual: list[str]) -> bool:
    """True when the lines agree; "..." stands for any number of lines, none included."""
    if not expected:
        return not actual
    if expected[0].strip() == "...":
        return any(matches(expected[1:], actual[k:]) for k in range(len(actual) + 1))
    same = bool(actual) and expected[0].rstrip() == actual[0].rstrip()
    return same and matches(expected[1:], actual[1:])


def strip_blank_ends(lines: list[str]) -> list[str]:
    return "\n".join(line.rstrip() for line in lines).strip("\n").splitlines()


def run_command(command: str, folder: Path) -> list[str]:
    words = shlex.split(command)
    assert words[0] == "grus", f"documentation runs grus commands only, not {command!r}"
    done = forked.run(*words[1:], folder=folder, timeout=SECONDS, COLUMNS="100", NO_COLOR="1")
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.torch
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "documentation"}
    for block in blocks(path.read_text("utf-8")):
        if block.language == "python":
            # Blank lines first, so that a traceback names the document's own line.
            code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
            exec(code, namespace)


@pytest.mark.torch
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_commands_print_what_the_documentation_says(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    before, marked, _ = path.read_text("utf-8").partition(WITH_FILES)
    for block in blocks(before) if marked else ():
        if block.language == "python":
            forked.run(code=block.text, folder=tmp_path, timeout=SECONDS).check_returncode()
    for block in blocks(path.read_text("utf-8")):
        for command, expected in commands(block.text) if block.language == "console" else ():
            actual = strip_blank_ends(run_command(command, tmp_path))
            assert matches(strip_blank_ends(expected), actual), (
                f"{path.name}:{block.line}: $ {command}\n" + "\n".join(actual)
            )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", path.read_text("utf-8"))
    assert [t for t in targets if not (path.parent / t).exists()] == []


def test_the_extras_of_the_readme_are_those_there_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    rows = re.findall(r"^\| (`.*?) \|", FILES[0].read_text("utf-8"), re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(project["optional-dependencies"])


def test_a_wrong_line_of_output_is_seen() -> None:
    assert matches(["a", "...", "d"], ["a", "b", "c", "d"])
    assert matches(["a", "..."], ["a"])
    assert not matches(["a", "...", "d"], ["a", "b", "c"])
    assert not matches(["a"], ["a", "b"])
    assert not matches([], ["a"])


def test_blocks_and_commands_are_found() -> None:
    text = "x\n```console\n$ grus show gru \\\n  --stage latex\none\ntwo\n$ grus\n```\n"
    (block,) = blocks(text)
    assert (block.language, block.line) == ("console", 3)
    assert list(commands(block.text)) == [
        ("grus show gru   --stage latex", ["one", "two"]),
        ("grus", []),
    ]
