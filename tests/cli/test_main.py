"""The command itself: version, groups, completion, the words of its options, errors in files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import grus as package
from grus.cli.main import PANELS, app, run

COMMANDS = {one.callback.__name__: one.callback for one in app.registered_commands if one.callback}
SAME = {
    "threads": "CPU threads; torch's by default.",
    "clip": "Largest norm of the gradients; 0: any.",
    "file": "A UTF-8 file to read instead.",
}
"""Options that several commands have and that say the same in each."""
GONE = {"plot", "write"}
"""Words that one command had for what another called --out."""


def grus(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["grus", *words])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert grus(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"grus {package.__version__}\n"


@pytest.mark.parametrize("columns", [80, 40])
def test_the_list_of_commands_stands_in_groups(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert grus(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    places = [next(k for k, line in enumerate(lines) if panel in line) for panel in PANELS]
    assert places == sorted(places)
    for begin, end, commands in zip(places, [*places[1:], None], PANELS.values(), strict=True):
        words = re.findall(r"^│ (\w+)", "\n".join(lines[begin:end]), re.M)
        groups = [group.name for group in app.registered_groups if "predict" in words]
        assert words == [*(one.__name__ for one in commands), *groups]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_GRUS_COMPLETE", f"complete_{shell}")
    for typed, wanted in (("grus sh", "show"), ("grus train --ep", "--epochs")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", typed)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        assert grus(monkeypatch) == 0
        assert wanted in capsys.readouterr().out


def test_one_thing_has_one_word_in_every_command() -> None:
    said: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for name, hint in get_type_hints(command, include_extras=True).items():
            declared = getattr(hint, "__metadata__", [None])[0]
            if type(declared).__name__ == "OptionInfo":
                said.setdefault(name, set()).add(declared.help)
    assert not GONE & set(said)
    for name, help_text in SAME.items():
        assert said[name] == {help_text}
    train, compare = (get_type_hints(COMMANDS[name]) for name in ("train", "compare"))
    for name in ("steps", "seconds", "seed", "batch", "seq_len", "lr", "clip", "threads", "hidden"):
        assert train[name] in (compare[name], compare[name] | None, int, float)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("h_next = tanhh(W.h @ x)", "tanhh"),
        ("h_next = tanh(W.h @ x", "never closed"),
        ("h_next = 1 / 0", "division by zero"),
        ("raise ValueError('two\\nlines')", "two"),
    ],
)
@pytest.mark.parametrize("command", ["show {}", "train --cell {}", "flow {}"])
def test_an_error_in_a_file_of_cells_is_one_sentence(
    command: str,
    line: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"from grus.equations import *\nclass Mgu(Cell):\n    {line}\n")
    assert grus(monkeypatch, *command.format("mine.py:Mgu").split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("grus: ")
    assert said in err
    assert "mine.py" in err
