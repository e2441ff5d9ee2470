"""`grus trace` as a person meets it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from grus.cli.main import run
from grus.traces import Trace
from small_run import finish, start

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(start(tmp_path, layers=2), after=2)
    monkeypatch.chdir(tmp_path)


def grus(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["grus", "trace", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def test_the_range_of_each_value_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grus(monkeypatch, "run", "--text", "lazy dog", "--values", "z, h") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1:5]]
    assert [row[:2] for row in rows] == [["z", "0"], ["z", "1"], ["h", "0"], ["h", "1"]]
    for _, _, low, mean, high in rows:
        assert float(low) < float(mean) < float(high)
    assert lines[-1] == "cell gru, 8 steps, 12 units"


def test_a_trace_is_written_as_arrays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--layers", "1", "--steps", "2:6", "--units", "0:3", "--out", "t.npz"]
    assert grus(monkeypatch, "run", "--text", "lazy dog", *options) == 0
    assert capsys.readouterr().out == ""
    trace = Trace.load("t.npz")
    assert trace["r"].shape == (1, 1, 4, 1, 3)
    assert trace.tokens == tuple("zy d")


def test_a_saved_trace_is_read_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lazy.txt").write_text("lazy dog")
    assert grus(monkeypatch, "run", "--file", "lazy.txt") == 0
    printed = capsys.readouterr().out
    assert grus(monkeypatch, "run", "--text", "lazy dog", "--out", "t.npz") == 0
    assert grus(monkeypatch, "t.npz") == 0
    assert capsys.readouterr().out == printed
    assert grus(monkeypatch, "t.npz", "--out", "t.html") == 0
    Path("other.npz").write_bytes(b"PK")
    for words, said in (
        (("t.npz", "--layers", "0"), "options of recording"),
        (("t.npz", "--text", "a"), "options of recording"),
        (("other.npz",), "other.npz"),
        (("run",), "give --text or --file"),
    ):
        assert grus(monkeypatch, *words) == 2
        assert said in capsys.readouterr().err


def test_a_trace_is_written_as_a_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("plotly")
    assert grus(monkeypatch, "run", "--text", "lazy dog", "--out", "gates.html") == 0
    assert capsys.readouterr().out == ""
    page = Path("gates.html").read_text("utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("name", "package", "begins"),
    [
        ("t.svg", "matplotlib", b"<?xml"),
        ("t.png", "matplotlib", b"\x89PNG"),
    ],
)
def test_a_trace_is_drawn(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, begins: bytes
) -> None:
    pytest.importorskip(package)
    assert grus(monkeypatch, "run", "--text", "lazy dog", "--out", name) == 0
    assert Path(name).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--text", "a"), "there is no such run"),
        (("run", "--text", ""), "there is no text to read"),
        (("run", "--text", "lazy", "--values", "q"), "gru has no value 'q'"),
        (("run", "--text", "lazy", "--layers", "2"), "layers: there is no 2"),
        (
            ("run", "--text", "lazy", "--out", "t.csv"),
            "--out takes a file .npz, .html, .svg or .png, got t.csv",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert grus(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("grus: ")
    assert said in error
    assert error.count("\n") == 1
    assert not list(Path().glob("t.*"))
