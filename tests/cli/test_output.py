"""Every command and all that it can write: endings, places, terminals; over the command table."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("polars")

from labelled_table import QUICK, write_csv

from grus.atomic_file import replace, replace_by
from grus.cli.main import app, run
from grus.cli.output import Folder, OutputFile
from grus.errors import InputError
from grus.tasks import fit
from grus_benchmarks.against import Result
from grus_benchmarks.turns import Turns
from small_run import finish, start

pytestmark = pytest.mark.torch

COMMANDS = {one.callback.__name__: one.callback for one in app.registered_commands if one.callback}
TINY = "--hidden 4 --batch 2 --seq-len 3 --threads 1 --steps 2"
CALLS = {
    "show": "show gru",
    "cells": "cells gru",
    "explain": "explain keras --dialect keras --x 1,2 --W 1,2,3 --U 1,2,3",
    "trace": "trace run --text lazy",
    "measure": "measure run",
    "flow": "flow run --lags 3 --rows 2",
    "serve": "serve run --no-open",
    "identify": "identify weights.npz --x 1 --y 0.25,0.125",
    "convert": "convert weights.npz out.onnx",
    "build": "build weights.npz --out built",
    "quantize": "quantize run --data prose.txt",
    "dialects": "dialects",
    "train": f"train prose.txt {TINY}",
    "sample": "sample run --length 3",
    "curves": "curves run --out c.svg",
    "predict": "predict fitted slopes.csv",
    "compare": f"compare prose.txt --cells gru --seeds 1 {TINY}",
    "search": f"search prose.txt --cells 1 --finalists 0 --out search {TINY}",
    "check": "check --backend backend:gru",
    "bench": "bench --shapes 1,1,2,2 --blocks 1",
}
"""How each command is called so that it prints something, in a folder with a run."""
ENDS = {"identify": 1, "check": 1}  # no dialect fits; the backend's answers are wrong
READ = {"file", "run", "given", "check", "resume", "source", "data"}
"""Parameters that name a file to read."""
BEGINS = {
    ".svg": b"<svg", ".png": b"\x89PNG", ".npz": b"PK", ".html": b"<!doctype html>", ".json": b"{",
    ".csv": b"sequence,", ".parquet": b"PAR1", ".jsonl": b"{",
}  # fmt: skip


def measured(problems: Any, *_: Any) -> Iterator[Result]:
    """What `grus bench` would measure in two processes."""
    for problem in problems:
        times = {kind: {"torch": Turns((1e-4,), (2e-4,))} for kind in problem.kinds}
        yield Result(problem, times, errors={"grus": 0.1, "torch": 0.2})


def parameters(name: str) -> dict[str, Any]:
    """The parameters of a command that are paths, with typer's declaration of each."""
    hints = get_type_hints(COMMANDS[name], include_extras=True)
    return {
        parameter: hint.__metadata__[0]
        for parameter, hint in hints.items()
        if hasattr(hint, "__metadata__") and "Path" in str(hint.__origin__)
    }


def written(name: str) -> dict[str, OutputFile]:
    """The parameters of a command that name what it writes."""
    found = {}
    for parameter, declared in parameters(name).items():
        kind = getattr(declared.callback, "__self__", None)
        if isinstance(kind, OutputFile):
            found[parameter] = kind
    return found


WRITING = [(name, option) for name in COMMANDS for option in written(name)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, a text, a weight file and a backend that is wrong."""
    folder = tmp_path_factory.mktemp("output")
    finish(start(folder))
    rng = np.random.default_rng(0)
    shapes = {
        "weight_ih_l0": (6, 1),
        "weight_hh_l0": (6, 2),
        "bias_ih_l0": (6,),
        "bias_hh_l0": (6,),
    }
    arrays = {name: rng.normal(size=shape).astype("f") for name, shape in shapes.items()}
    np.savez(folder / "weights.npz", **arrays)
    fit("classify", write_csv(folder / "slopes.csv"), out=folder / "fitted", **QUICK)
    code = "import numpy as np\n\ndef gru(x, weights, h0=None):\n    return x, x[-1:]\n"
    (folder / "backend.py").write_text(code)
    return folder


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("grus.page.server.serve", lambda *_, **__: None)
    monkeypatch.setattr("grus_benchmarks.against_torch.bench", measured)
    before = set(folder.iterdir())
    yield
    for path in set(folder.iterdir()) - before:
        if path.is_file():
            path.unlink()


def grus(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["grus", *words.split()])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def shell(words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that a shell starts, its redirections behind the words."""
    command = f"exec '{sys.executable}' -c 'from grus.cli.main import run; run()' {words}"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)


def asked(name: str, option: str, path: str | Path) -> str:
    """A call of the command that writes to ``path``."""
    words = CALLS[name].replace("--out c.svg", "").replace("out.onnx", "")
    if name == "check":
        words = name
    if name == "explain":
        words += " --format html"
    return (
        f"{words} {path}" if option == "out" and name == "convert" else f"{words} --{option} {path}"
    )


def test_every_command_and_every_path_is_known_here() -> None:
    assert set(COMMANDS) == set(CALLS)
    for name in COMMANDS:
        unknown = set(parameters(name)) - set(written(name)) - READ
        assert not unknown, f"{name}: does it read or write {unknown}?"
    writing = {name for name, _ in WRITING}
    assert writing == {
        "show", "trace", "measure", "flow", "convert", "build", "train", "curves", "compare",
        "check", "bench", "search", "predict",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "option", "ending"),
    [(*one, ending) for one in WRITING for ending in written(one[0])[one[1]].endings],
)
def test_what_is_written_is_what_its_ending_says(
    name: str, option: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert grus(asked(name, option, f"new{ending}"), monkeypatch) == 0
    content = Path(f"new{ending}").read_bytes().lower()
    assert BEGINS[ending].lower() in content[:200]
    if ending == ".json":
        json.loads(content)


@pytest.mark.parametrize(
    ("stage", "ending", "begins"),
    [
        ("equations", ".txt", "gru: "),
        ("latex", ".tex", r"\begin{aligned}"),
        ("diagram", ".svg", "<svg"),
        ("llvm", ".ll", "declare"),
        ("asm", ".s", "\t"),
        ("cost", ".txt", "cost of gru"),
    ],
)
def test_each_stage_has_endings_of_its_own(
    stage: str, ending: str, begins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert grus(f"show gru --stage {stage} --out stage{ending}", monkeypatch) == 0
    assert Path(f"stage{ending}").read_text("utf-8").startswith(begins)
    other = ".svg" if ending != ".svg" else ".png"
    assert grus(f"show gru --stage {stage} --out stage{other}", monkeypatch) == 2
    assert not Path(f"stage{other}").exists()


@pytest.mark.parametrize(("name", "option"), WRITING)
def test_where_nothing_can_be_written_it_is_one_sentence_at_once(
    name: str,
    option: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = written(name)[option]
    ending = ".onnx" if name == "convert" else (*kind.endings, ".txt")[0]
    places = {f"new{ending}": "nothing can be put into"}
    if isinstance(kind, Folder):
        places["prose.txt"] = "must be a folder"
        places["prose.txt/run"] = "prose.txt is a file"
    else:
        (folder / f"there{ending}").mkdir(exist_ok=True)
        places |= {f"absent/new{ending}": "a folder that exists", f"there{ending}": "a file in"}
        places["new.gif"] = ".gif" if name == "convert" else "takes a file"
    for path, said in sorted(places.items()):
        refusing = path == f"new{ending}"
        monkeypatch.setattr(os, "access", lambda _, mode, no=refusing: not no or mode != os.W_OK)
        assert grus(asked(name, option, path), monkeypatch) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("grus: ")
        assert err.count("\n") == 1
        assert said in err
        assert not Path(path).is_file() or path == "prose.txt"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_device_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert grus(CALLS[name], monkeypatch) == 2
    error = capsys.readouterr().err
    assert error == "grus: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_has_seen_enough_is_no_error(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert grus(CALLS[name], monkeypatch) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_stdout_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert grus(CALLS[name], monkeypatch) == 2
    sys.stdout.close()
    error = capsys.readouterr().err
    assert error == "grus: the output cannot be written: Bad file descriptor\n"


@pytest.mark.parametrize("words", ["--help", "--version", "show --help", "show gru"])
@pytest.mark.parametrize(
    ("closed", "code", "told"), [(">&-", 2, 1), ("2>&-", 0, 0), (">&- 2>&- <&-", 2, 0)]
)
def test_streams_that_the_shell_closed(words: str, closed: str, code: int, told: int) -> None:
    done = shell(f"{words} {closed}")
    assert (done.returncode, done.stderr.count("\n")) == (code, told)
    assert done.stderr.startswith("grus: ") or not told


def test_an_error_is_not_printed_where_results_are_expected() -> None:
    done = shell("show nosuch 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize("words", [*CALLS.values(), *(
    "show gru --stage diagram", "show gru --stage gradient", "show gru --stage latex",
    "show gru --stage cost", CALLS["explain"] + " --format html", "train --help",
)])  # fmt: skip
def test_a_terminal_that_knows_only_ascii_gets_all_of_it(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    assert grus(words, monkeypatch) == ENDS.get(words.split(maxsplit=1)[0], 0)
    assert ascii_only.buffer.getvalue().isascii()  # type: ignore[attr-defined]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.ENAMETOOLONG])
def test_a_disk_that_refuses_even_to_delete_is_one_sentence(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match=os.strerror(number)):
        replace(tmp_path / "a.txt", b"")


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_by(tmp_path / "a.txt", stop)
    assert not list(tmp_path.iterdir())


def test_a_message_that_the_system_gives_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grus("show " + "n" * 3000 + ".py:Mgu", monkeypatch) == 2
    assert capsys.readouterr().err.count("\n") == 1
