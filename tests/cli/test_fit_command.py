"""`grus fit`: options made of a task's fields, going on, what is refused."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("torch")
pytest.importorskip("polars")

from labelled_table import write_csv

from grus.cli.main import run
from grus.tasks import TASKS, Fitted
from grus.tasks.classify import Classify
from grus.tasks.task import option

pytestmark = pytest.mark.torch
WORDS = "--hidden 5 --epochs 2 --batch 16 --threads 1 --channels a,b"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "slopes.csv")


def grus(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["grus", *words.split()])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


@dataclass(frozen=True)
class Weighed(Classify):
    """A task with a field of several texts."""

    shown: tuple[str, ...] = option((), "Names, one an option.")
    name: ClassVar[str] = "weighed"


def test_a_field_of_several_values_is_an_option_given_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TASKS, "weighed", Weighed)
    words = f"fit weighed slopes.csv {WORDS} --shown one --shown two --out run"
    assert grus(words, monkeypatch) == 0
    task: Any = Fitted.load("run").task
    assert task.shown == ("one", "two")


def test_it_goes_on_and_says_its_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grus(f"fit classify slopes.csv {WORDS} --seeds 2", monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sequences: 42 to train on, 6 to validate on, 12 to test on"
    assert "2 seeds, mean and deviation" in lines[-3]
    assert lines[-1] == "predict: grus predict runs/classify-slopes DATA --out FILE.csv"
    assert grus("fit classify --resume runs/classify-slopes --epochs 3", monkeypatch) == 0
    assert {r.steps for r in Fitted.load("runs/classify-slopes").results} == {9}
    assert grus(f"fit classify slopes.csv {WORDS}", monkeypatch) == 0
    assert Path("runs/classify-slopes-2").is_dir()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("fit classify", "grus fit classify needs DATA"),
        ("fit classify --resume run --hidden 3", "--hidden cannot be given with --resume"),
        ("fit classify --resume run --out other", "--out cannot be given with --resume"),
        ("fit classify --resume run --test-data slopes.csv", "--test-data cannot be given"),
        ("fit classify --resume run --seeds 3", "--seeds cannot be given with --resume"),
        ("fit regress --resume run --epochs 9", "the run in run is of the task classify"),
        ("fit classify --resume absent", "there is no such run to resume"),
        ("fit classify slopes.csv --out run", "already holds a run"),
        ("fit classify slopes.csv --label colour", "there is no column 'colour' for --label"),
        ("fit classify slopes.csv --gate-bias z", "--gate-bias must look like z=1.0"),
        ("predict run absent.csv", "absent.csv not found"),
        ("predict slopes.csv slopes.csv", "is not a whole safetensors file"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if " run" in words:
        assert grus(f"fit classify slopes.csv {WORDS} --out run", monkeypatch) == 0
        capsys.readouterr()
    before = sorted(Path().rglob("*"))
    assert grus(words, monkeypatch) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
