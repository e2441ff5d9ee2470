"""`grus serve` from outside: it answers, ends cleanly, and says what cannot be in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("uvicorn")
pytest.importorskip("plotly")

import forked
from small_run import finish, start

pytestmark = pytest.mark.torch
GRUS = [sys.executable, "-c", "from grus.cli.main import run; run()", "serve"]
SECONDS = 60


def served(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*GRUS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )


def refused(*words: str) -> str:
    done = forked.run("serve", *words, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    finish(start(folder), after=8)
    return folder / "run"


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_it_answers_on_its_address_alone_and_ends_cleanly(run: Path, number: int) -> None:
    server = served(str(run), "--no-open")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[0], timeout=SECONDS) as got:
            assert b"<title>grus" in got.read()
        server.send_signal(number)
        out, error = server.communicate(timeout=SECONDS)
    finally:
        server.kill()
    assert (server.returncode, out, error) == (0, "ended\n", "")


def test_a_port_that_is_taken_is_said(run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(str(run), "--no-open", "--port", str(port))
    assert said == f"grus: port {port} of 127.0.0.1 cannot be used: Address already in use\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing",), "grus: missing: there is no such run; grus train and grus fit make them\n"),
        (("--port", "70000"), "grus: --port must lie in 0..65535, got 70000\n"),
    ],
)
def test_what_cannot_be_served_is_one_line(words: tuple[str, ...], said: str) -> None:
    assert refused(*words, "--no-open") == said


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "plotly"])
def test_a_missing_package_names_its_extra(package: str, run: Path) -> None:
    block = f"import sys; sys.modules[{package!r}] = None; from grus.cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", block, "serve", str(run), "--no-open"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"grus: the page needs {package}: pip install 'grus[page]'\n"
