"""`grus train` as a person meets it: what it prints, writes, refuses, and how it stops."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grus.cli import training as command
from grus.cli.main import run
from grus.models import kept_run
from grus.models.checkpoint import load
from small_run import PROSE

TINY = shlex.split("--hidden 12 --embedding 6 --seq-len 5 --batch 4 --threads 1")
GRUS = [sys.executable, "-c", "from grus.cli.main import run; run()"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prose.txt").write_text(PROSE)


def grus(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["grus", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def test_the_first_run_says_what_it_does_and_where_everything_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = grus(monkeypatch, "train", "prose.txt", *TINY, "--steps", "30", "--report-every", "10")
    out, err = capfd.readouterr()
    assert code == 0
    assert err == ""
    assert out.startswith("cell gru: Reset after the product; z keeps the state")
    assert f"{len(PROSE):,} characters, {len(set(PROSE))} different, the last 10% held out" in out
    lines = out.splitlines()
    reports = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in reports] == ["10", "20", "30"]
    for line in reports:
        for part in ("loss", "bits", "perplexity", "validation", "characters/s", "left"):
            assert part in line
    best = load(Path("runs/prose/best.safetensors")).progress
    assert f"validation {best.best_bits:.3f} bits per character" in lines[-2]
    perplexity = json.loads(Path("runs/prose/metrics.jsonl").read_text().splitlines()[-1])
    said = f"training perplexity {perplexity['train_perplexity']:.2f}"
    assert lines[-3].startswith("done at step 30,")
    assert lines[-3].endswith(said)
    assert "runs/prose/best.safetensors" in lines[-2]
    assert lines[-1] == "sample:  grus sample runs/prose"
    assert "\x1b" not in out, "no terminal, no escape codes"


def test_without_a_file_it_trains_on_what_every_python_carries(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = [*TINY, "--first", "2000", "--steps", "2"]
    assert grus(monkeypatch, "train", *tiny) == 0
    assert "the Python language reference (pydoc_data.topics)" in capfd.readouterr().out
    assert grus(monkeypatch, "train", *tiny) == 0
    assert Path("runs/python/last.safetensors").exists()
    assert Path("runs/python-2/last.safetensors").exists(), "a second run has a folder of its own"


def test_a_known_name_says_which_cell_it_is_and_why(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert grus(monkeypatch, "train", "prose.txt", *TINY, "--steps", "1", "--cell", "cho2014") == 0
    assert "cho2014 is the cell gru_reset_before: Cho et al." in capfd.readouterr().out


def test_every_option_reaches_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    options = (
        "--cell lstm --hidden 10 --layers 2 --input onehot --dtype float64 --gate-bias f=1"
        " --gate-bias i=-0.5 --seq-len 6 --batch 3 --epochs 1 --optimizer sgd --clip 0.5"
        " --dropout 0.1 --normalize letters --first 300 --holdout 0.2 --seed 7 --threads 1"
        " --report-every 4 --out here"
    )
    assert grus(monkeypatch, "train", "prose.txt", *options.split()) == 0
    found = load(Path("here/last.safetensors"))
    model, settings, source = found.architecture, found.settings, found.source
    assert (model.cell.name, model.hidden, model.layers) == ("lstm", 10, 2)
    assert (model.input, model.dtype) == ("onehot", "float64")
    assert settings.gate_bias == {"f": 1.0, "i": -0.5}
    assert (settings.seq_len, settings.batch, settings.epochs) == (6, 3, 1)
    assert (settings.optimizer, settings.lr, settings.clip) == ("sgd", 1.0, 0.5)
    assert (settings.dropout, settings.holdout, settings.seed) == (0.1, 0.2, 7)
    assert (settings.threads, settings.report_every) == (1, 4)
    assert (source.normalize, source.first) == ("letters", 300)
    assert found.progress.epoch == 1


def test_bytes_and_insisting_reach_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data.csv").write_bytes(bytes(range(256)) * 3)
    options = [*TINY, "--unit", "byte", "--as-text", "--seconds", "0.2"]
    assert grus(monkeypatch, "train", "data.csv", *options) == 0
    found = load(Path("runs/data/last.safetensors"))
    assert found.architecture.vocabulary.unit == "byte"
    assert len(found.architecture.vocabulary) == 256
    assert found.settings.seconds == 0.2


Path_or_text = str
BAD: dict[str, tuple[str, Path_or_text]] = {
    "no such file": ("none.txt", "none.txt: not found"),
    "a folder": (".", "is a folder"),
    "an empty file": ("empty.txt", "is empty"),
    "not UTF-8": ("latin.txt", "not UTF-8: byte 0xe9 at offset 3"),
    "a table": ("table.csv", "looks like a table, not prose; --as-text"),
    "a binary file": ("picture", "looks like a binary file, not prose; --as-text"),
    "a sequence longer than the text": ("prose.txt --seq-len 1000", "lower --batch or --seq-len"),
    "a text too short for a tail": ("short.txt", "--holdout 0"),
    "a negative size": ("prose.txt --hidden -3", "--hidden must lie in 1.."),
    "no steps": ("prose.txt --steps 0", "--steps must be at least 1"),
    "two budgets": ("prose.txt --steps 3 --epochs 1", "give one of --steps"),
    "no rate": ("prose.txt --lr 0", "--lr must be above 0"),
    "no threads": ("prose.txt --threads 0", "--threads must lie in"),
    "an unknown cell": ("prose.txt --cell grru", "no cell is called 'grru'"),
    "an unknown optimizer": ("prose.txt --optimizer lion", "--optimizer must be one of"),
    "an unknown gate": ("prose.txt --gate-bias q=1", "no gate 'q'"),
    "a gate bias without a number": ("prose.txt --gate-bias z", "--gate-bias must look like"),
    "a file in the way": ("prose.txt --out short.txt", "must be a folder"),
    "a run in the way": ("prose.txt --out taken", "already holds a run"),
    "nothing to resume": ("--resume none", "there is no such run"),
    "an empty folder to resume": ("--resume empty", "not found; expected a checkpoint"),
    "a corrupt checkpoint": ("--resume taken", "not a whole safetensors file"),
    "resuming with another size": ("--resume taken --hidden 5", "--hidden cannot be given"),
    "resuming elsewhere": ("--resume taken --out new", "--out cannot be given"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_written(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, message = BAD[name]
    for file, content in {
        "empty.txt": b"",
        "latin.txt": b"caf\xe9",
        "table.csv": b"a,b\n1,2\n",
        "picture": b"\x89PNG\0",
        "short.txt": b"abc",
    }.items():
        Path(file).write_bytes(content)
    Path("taken").mkdir()
    Path("empty").mkdir()
    Path("taken/last.safetensors").write_bytes(b"precious")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert grus(monkeypatch, "train", *arguments.split()) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert err.startswith("grus: ")
    assert err.count("\n") == 1
    assert out == ""
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert not Path("runs").exists()


def test_a_finished_run_resumed_says_so_and_a_larger_budget_goes_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert grus(monkeypatch, "train", "prose.txt", *TINY, "--steps", "10", "--out", "here") == 0
    assert grus(monkeypatch, "train", "--resume", "here") == 0
    assert "done at step 10" in capfd.readouterr().out
    assert grus(monkeypatch, "train", "--resume", "here", "--epochs", "2", "--lr", "0.001") == 0
    found = load(Path("here/last.safetensors"))
    assert (found.settings.steps, found.settings.epochs, found.settings.lr) == (None, 2, 0.001)
    assert found.progress.epoch == 2


def test_resuming_finds_the_text_from_any_folder_and_another_only_if_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert grus(monkeypatch, "train", "prose.txt", *TINY, "--steps", "5", "--out", "here") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert grus(monkeypatch, "train", "--resume", "../here", "--steps", "7") == 0
    (tmp_path / "prose.txt").rename("moved.txt")
    capfd.readouterr()
    assert grus(monkeypatch, "train", "--resume", "../here", "--steps", "9") == 2
    assert "prose.txt: not found" in capfd.readouterr().err
    assert grus(monkeypatch, "train", "moved.txt", "--resume", "../here", "--steps", "9") == 0
    Path("other.txt").write_text(PROSE + "more")
    assert grus(monkeypatch, "train", "other.txt", "--resume", "../here", "--steps", "11") == 2
    assert "is not the text that the run in ../here was trained on" in capfd.readouterr().err
    assert load(tmp_path / "here" / kept_run.LAST).progress.step == 9


def test_weights_that_blow_up_end_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = shlex.split(
        "--optimizer sgd --lr 1e38 --clip 0 --steps 20 --report-every 10 --out here"
    )
    assert grus(monkeypatch, "train", "prose.txt", *TINY, *options) == 2
    assert "no longer finite at step 10: lower --lr or --clip" in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["train"], ["sample", "."]])
def test_without_torch_it_says_what_to_install(arguments: list[str]) -> None:
    code = "import sys; sys.modules['torch'] = None; from grus.cli.main import run; run()"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "grus: this command needs PyTorch: pip install 'grus[torch]'\n"


def test_gate_biases_are_read_as_pairs() -> None:
    assert command.gate_biases(["z=1.0", "r=-2e-1"]) == {"z": 1.0, "r": -0.2}


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_says_where_and_the_run_goes_on(number: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*GRUS, "train", "prose.txt", *TINY, "--steps", "1000000", "--out", "here"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    while not any(line.startswith("step ") for line in lines):
        lines.append(process.stdout.readline())
        assert process.poll() is None
    process.send_signal(number)
    rest = process.stdout.read().splitlines()
    assert process.wait(30) == 128 + number
    process.stdout.close()
    step = load(Path("here/last.safetensors")).progress.step
    assert f"stopped at step {step}," in rest[-2]
    assert rest[-1] == "go on:   grus train --resume here"
    more = [*GRUS, "train", "--resume", "here", "--steps", str(step + 3)]
    done = subprocess.run(more, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert f"going on at step {step}" in done.stdout
    assert load(Path("here/last.safetensors")).progress.step == step + 3
    steps = [json.loads(x)["step"] for x in Path("here/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
def test_a_terminal_gets_a_bar() -> None:
    """With loss, bits, characters per second and the time left."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*GRUS, "train", "prose.txt", *TINY, "--seconds", "2"],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150"},
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    assert process.wait(10) == 0
    text = shown.decode()
    assert "━" in text
    for part in ("loss", "bits", "characters/s", "validation", "0:0"):
        assert part in text
