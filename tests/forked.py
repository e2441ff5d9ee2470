"""Processes forked from one that has imported torch and the command, for tests of what a process
does: to import takes most of them longer. How one starts is tested elsewhere, from the shell."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

GRUS = "from grus.cli.main import run; run()"
WAYS = multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if "forkserver" in WAYS else "spawn")
CONTEXT.set_forkserver_preload(["grus.cli.main", "grus.layers", "torch.optim", "optuna"])


def start(
    *words: str,
    code: str = GRUS,
    folder: Path | None = None,
    out: Path = Path(os.devnull),
    err: Path = Path(os.devnull),
    **environment: str,
) -> BaseProcess:
    """A process that runs ``code`` with these arguments, in ``folder``, printing to these files."""
    arguments = code, words, folder or Path.cwd(), (out, err), os.environ | environment
    process = CONTEXT.Process(target=_child, args=arguments)
    process.start()
    return process


def run(
    *words: str, code: str = GRUS, folder: Path | None = None, timeout: float, **environment: str
) -> CompletedProcess[str]:
    """What ``subprocess.run`` returns of a process that `start` starts and that has ended."""
    with TemporaryDirectory() as printed:
        out, err = Path(printed, "out"), Path(printed, "err")
        process = start(*words, code=code, folder=folder, out=out, err=err, **environment)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        texts = (path.read_text("utf-8") for path in (out, err))
        return CompletedProcess(words, process.exitcode, *texts)


def _child(
    code: str,
    words: tuple[str, ...],
    folder: Path,
    printed: tuple[Path, Path],
    environment: dict[str, str],
) -> None:
    for stream, path in zip((sys.stdout, sys.stderr), printed, strict=True):
        with path.open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
        stream.reconfigure(encoding="utf-8")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv, sys.path[0:0] = ["grus", *words], [""]
    exec(code, {"__name__": "__main__"})
