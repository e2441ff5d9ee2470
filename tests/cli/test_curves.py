"""`grus curves` as a person meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from grus import pictures
from grus.cli.main import run
from grus.models.run_files import read_metrics
from small_run import SETTINGS, finish, start

pytest.importorskip("matplotlib")
REPORT = {"step": 7, "train_loss": 2.0, "train_bits": 3.0, "train_perplexity": 8.0} | {
    f"validation_{name}": 1.5 for name in ("loss", "bits", "perplexity")
}


def grus(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["grus", "curves", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def write(folder: Path, *reports: dict[str, Any], end: str = "\n") -> Path:
    folder.mkdir()
    text = "\n".join(json.dumps(REPORT | report) for report in reports) + end
    (folder / "metrics.jsonl").write_text(text)
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is given to the figure."""
    given: list[Any] = []
    draw = pictures.learning_curves

    def note(curves: Any, **look: Any) -> Any:
        given.append((curves, look))
        return draw(curves, **look)

    monkeypatch.setattr(pictures, "learning_curves", note)
    return given


@pytest.mark.torch
def test_a_real_run_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: Any) -> None:
    watch = finish(start(tmp_path, SETTINGS))
    out = tmp_path / "curves.svg"
    assert grus(monkeypatch, str(tmp_path / "run"), "--training", "--out", str(out)) == 0
    ((curves, look),) = drawn
    steps = [float(report.step) for report in watch.reports]
    assert curves == {
        "run": [(steps, [r.validation_bits for r in watch.reports])],
        "run, training\nwith the run's dropout": [(steps, [r.train_bits for r in watch.reports])],
    }
    assert look == {"y": "bits per character"}
    assert out.read_bytes().startswith(b"<?xml")


def test_runs_of_one_label_are_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: Any, capsys: Any
) -> None:
    names = [str(write(tmp_path / name, {}, {"step": 9})) for name in ("a", "b", "c")]
    labelled = [f"gru={names[0]}", f"gru={names[1]}", names[2]]
    assert grus(monkeypatch, *labelled, "--value", "loss", "--out", str(tmp_path / "o.png")) == 0
    ((curves, look),) = drawn
    assert {label: len(seeds) for label, seeds in curves.items()} == {"gru": 2, "c": 1}
    assert look == {"y": "loss, nats per character"}
    assert capsys.readouterr().out == f"3 curves in {tmp_path / 'o.png'}\n"


def test_nothing_held_out_shows_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: Any
) -> None:
    none = {f"validation_{name}": None for name in ("loss", "bits", "perplexity")}
    folder = write(tmp_path / "a", none)
    assert grus(monkeypatch, str(folder), "--out", str(tmp_path / "o.png")) == 0
    assert drawn[0][0] == {"a, training\nwith the run's dropout": [([7.0], [3.0])]}


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {}, {"step": 9}, end="")
    assert [report["step"] for report in read_metrics(folder)] == [7]


BAD = {
    "no run": (["none"], "none holds no run that reported"),
    "nothing": (["nothing"], "nothing has reported nothing yet"),
    "no report": (["foreign"], "metrics.jsonl, line 1: not a report of a run"),
    "back": (["back"], "the steps do not go up"),
    "value": (["good", "--value", "size"], "--value must be one of bits, loss, perplexity"),
    "form": (["good", "--out", "o.gif"], "--out takes a file .svg or .png"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_one_line_and_exit_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("good"), {})
    write(Path("back"), {}, {})
    write(Path("foreign"), {"train_bits": "many"})
    write(Path("nothing"), end="")
    arguments, message = BAD[name]
    out = [] if "--out" in arguments else ["--out", "o.svg"]
    assert grus(monkeypatch, *arguments, *out) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err
    assert not list(tmp_path.glob("o.*"))
