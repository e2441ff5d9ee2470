"""Other frameworks: where they are not installed, their tests skip and say so."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
GRUS = [sys.executable, "-c", "from grus.cli.main import run; run()", "serve"]

# Read when Keras is first imported, which is inside a test.
os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras-"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is marked; what others warn of is not our error."""
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.peers)
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def jax_as_it_comes() -> Iterator[None]:
    """A test that needs float64 of JAX switches it on for the whole process: off again after it."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser of the machine, as Playwright drives it."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as kit:
        started = kit.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `grus serve` answers on a run of two layers."""
    pytest.importorskip("torch")
    from small_run import SETTINGS, finish, start

    folder = tmp_path_factory.mktemp("page")
    finish(start(folder, SETTINGS, layers=2))
    server = subprocess.Popen(
        [*GRUS, str(folder / "run"), "--no-open"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert server.stdout is not None
    yield server.stdout.readline().split()[0]
    server.send_signal(signal.SIGINT)
    try:
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()
        server.stdout.close()
