"""`grus compare` as a person meets it: what it says first, writes, refuses, how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grus.cli.main import run
from small_run import PROSE

GRUS = [sys.executable, "-c", "from grus.cli.main import run; run()"]
TINY = ["--hidden", "6", "--batch", "4", "--threads", "1", "--seeds", "2", "--steps", "20"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prose.txt").write_text(PROSE)


def grus(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["grus", "compare", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def test_it_says_what_it_will_do_then_does_it_and_judges(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stack = ["--layers", "2", "--connect", "residual"]
    code = grus(monkeypatch, "--task", "adding", "--lag", "8", "--cells", "rnn,lstm", *TINY, *stack)
    out, err = capfd.readouterr()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "adding, lag 8, 2 residual layers; loss: mean squared error"
    assert lines[2].startswith("4 runs (2 cells, 2 seeds) of 20 steps, batch 4, adam 0.01")
    assert [line.split(":")[0] for line in lines if line.startswith("seed ")] == [
        f"seed {seed}  {cell}" for seed in (0, 1) for cell in ("rnn", "lstm")
    ]
    heads = [line for line in lines if line.startswith("cell ")]
    assert heads[0].split()[:4] == ["cell", "hidden", "parameters", "FLOPs"]
    assert [line.split()[0] for line in lines if line.endswith("/2")] == ["rnn", "lstm"]
    assert "No winner: 2 seeds each are too few to tell, 4 are needed." in lines


def test_a_text_is_compared_in_bits_and_written_down(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = grus(
        monkeypatch, "prose.txt", "--cells", "gru,rnn", "--seq-len", "5", "--out", "c.json", *TINY
    )
    out = capfd.readouterr().out
    assert code == 0
    assert "loss: bits per character" in out
    assert "solved" not in out
    found = json.loads(Path("c.json").read_text())
    assert found["finished"]
    assert [c["name"] for c in found["contestants"]] == ["gru", "rnn"]
    for one in found["contestants"]:
        assert [t["seed"] for t in one["trials"]] == [0, 1]
        assert all(t["best"] == min(t["losses"]) for t in one["trials"])
    assert sorted(p.name for p in Path().iterdir()) == ["c.json", "prose.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "give a text FILE or --task, one of the two"),
        ("prose.txt --task copy", "give a text FILE or --task, one of the two"),
        ("prose.txt --lag 9", "--lag is of a --task, not of a text"),
        ("absent.txt", "not found"),
        ("--task sorting", "--task must be one of adding, copy, got 'sorting'"),
        ("--task adding --lag 1", "--lag must lie in"),
        ("--task adding --match size", "--match must be one of params, hidden, time"),
        ("--task adding --steps 0", "--steps must be at least 1"),
        ("--task adding --steps 9 --seconds 9", "give one of --steps, --epochs, --seconds"),
        ("--task adding --seconds 0", "--seconds must be above 0"),
        ("--task adding --seed -1", "--seed must be 0 or more"),
        ("--task adding --seeds 0", "--seeds must lie in 1..1000, got 0"),
        ("--task adding --layers 0", "--layers must be at least 1, got 0"),
        ("--task adding --connect up", "--connect must be one of residual, highway, dense"),
        ("--task adding --hidden 0", "--hidden must be at least 1, got 0"),
        ("--task adding --cells gru,gru", "each once"),
        ("--task adding --cells grue", "no cell is called 'grue'"),
        ("--task adding --gate-bias q=1", "no such gate with a bias"),
        ("--task adding --out nowhere/c.json", "--out must be a file in a folder that exists"),
        ("--task adding --lr 0", "--lr must be above 0"),
        ("--task adding --out curves.gif", "--out takes a file .svg, .png or .json"),
        ("--task adding --threads 0", "--threads must lie in"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_trained(
    arguments: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert grus(monkeypatch, *arguments.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("grus: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C as POSIX sends it")
def test_ctrl_c_shows_the_runs_that_were_finished(tmp_path: Path) -> None:
    words = [
        "compare",
        "--task",
        "adding",
        "--lag",
        "8",
        "--cells",
        "rnn,gru",
        "--out",
        "c.json",
        "--seeds",
        "900",
    ]
    words += ["--hidden", "6", "--batch", "4", "--threads", "1", "--steps", "100"]
    process = subprocess.Popen(
        [*GRUS, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    before, deadline = [""], time.monotonic() + 120
    while not before[-1].startswith("seed 0  gru") and time.monotonic() < deadline:
        before.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signal.SIGINT, "")
    assert "FLOPs" in out
    found = json.loads((tmp_path / "c.json").read_text())
    finished = sum(len(c["trials"]) for c in found["contestants"])
    assert not found["finished"]
    assert finished >= 2
    assert f"Stopped after {finished} of 1,800 runs." in out
