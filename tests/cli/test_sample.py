"""`grus sample` as a person meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from grus.cli import training as command
from grus.cli.main import run
from grus.equations import Cell
from grus.models import checkpoint, corpus, kept_run, run as runs
from grus.models.corpus import Architecture
from grus.models.evaluation import sample
from grus.models.settings import Settings
from small_run import finish, start

GRUS = [sys.executable, "-c", "from grus.cli.main import run; run()"]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    finish(start(tmp_path))
    return tmp_path / "run"


def grus(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["grus", "sample", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def test_it_writes_the_prompt_and_what_follows(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the best model, the same for the same seed, from a folder or a file."""
    options = ["--prompt", "the ", "--length", "30", "--seed", "4", "--temperature", "0.7"]
    assert grus(monkeypatch, str(trained), *options) == 0
    written = capfd.readouterr().out
    model = checkpoint.load(trained / kept_run.BEST).model()
    assert written == "the " + "".join(sample(model, "the ", 30, 0.7, 4)) + "\n"
    assert grus(monkeypatch, str(trained / kept_run.BEST), *options) == 0
    assert capfd.readouterr().out == written


BAD = {
    "no such run": (["none"], "there is no such run"),
    "a folder without a run": (["."], "holds no run"),
    "a foreign file": (["foreign.safetensors"], "not a whole safetensors file"),
    "an unknown symbol": (["run", "--prompt", "A1"], "'1A' is not in the model's vocabulary"),
    "a negative length": (["run", "--length", "-1"], "length must be 0 or more"),
    "a negative temperature": (["run", "--temperature", "-1"], "temperature must be"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_one_line_and_exit_2(
    name: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path if name != "a folder without a run" else tmp_path / "folder")
    Path("foreign.safetensors").write_bytes(b"no tensors here")
    arguments, message = BAD[name]
    assert grus(monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("grus: ")
    assert message in err


def test_every_character_is_flushed(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a buffer to fill."""
    events: list[bytes | str] = []

    class Watched:
        buffer = SimpleNamespace(write=events.append, flush=lambda: events.append("flush"))

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdout", Watched())
    command.sample(trained, prompt="the ", length=3, temperature=0.0, seed=0)
    written, flushes = events[::2], events[1::2]
    assert [len(part) for part in written] == [4, 1, 1, 1, 1]
    assert flushes == ["flush"] * 5


@pytest.mark.skipif(os.name != "posix", reason="pipes of this kind are POSIX's")
def test_a_closed_pipe_ends_it_quietly(trained: Path) -> None:
    endless = [*GRUS, "sample", str(trained), "--length", "100000000"]
    process = subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    first = [os.read(process.stdout.fileno(), 1000) for _ in range(3)]
    assert all(first), "output arrives while it is still writing"
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_byte_model_writes_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The prompt goes in as UTF-8 and comes out as it was."""
    file = tmp_path / "bytes"
    file.write_bytes("é und è und ".encode() * 40)
    source = corpus.Source(str(file), unit="byte")
    read = corpus.read(source)
    model = Architecture(Cell.parse(RNN), read.vocabulary, hidden=8, embedding=4)
    settings = Settings(seq_len=5, batch=4, steps=200, lr=0.03)
    finish(runs.start(tmp_path / "run", source, read, model, settings))
    options = ["--prompt", "é und", "--length", "9", "--temperature", "0"]
    assert grus(monkeypatch, str(tmp_path / "run"), *options) == 0
    written = capfdbinary.readouterr().out
    assert written.startswith("é und".encode())
    assert len(written) == len("é und".encode()) + 9 + 1


RNN = "h_next = tanh(W.h @ x + U.h @ h + b.h)"


@pytest.mark.parametrize(
    ("symbol", "unit", "controls"),
    [
        ("\x1b", "character", True),
        ("\x9b", "character", True),
        ("\x9b", "byte", False),
        ("\x07", "byte", True),
        ("\r", "character", True),
        ("\x7f", "character", True),
        ("\n", "character", False),
        ("\t", "byte", False),
        ("é", "character", False),
    ],
)
def test_a_terminal_is_not_steered_by_what_a_model_learnt(
    symbol: str, unit: str, controls: bool
) -> None:
    assert command._controls(symbol, unit) == controls
