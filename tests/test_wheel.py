"""The wheel that is built: both packages, their files, the command, and a benchmark from it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from house import FOLDERS, ROOT

setuptools = pytest.importorskip("setuptools", minversion="77")
SHIPPED = ("src", "benchmarks", "pyproject.toml", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds. It is built from copies: a build writes beside them."""
    copy, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard", *SHIPPED],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tracked.returncode:
        pytest.skip("no git checkout to build from")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def test_both_packages_are_in_it_whole(installed: Path) -> None:
    for name, folder in FOLDERS.items():
        here = {p.relative_to(folder) for p in folder.rglob("*") if p.suffix not in ("", ".pyc")}
        there = {p.relative_to(installed / name) for p in (installed / name).rglob("*.*")}
        assert there == here
    beside = {path.name for path in installed.iterdir()} - set(FOLDERS)
    assert [name.endswith(".dist-info") for name in beside] == [True]


@pytest.mark.torch
def test_a_benchmark_runs_from_it(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import grus_benchmarks; from grus.cli.main import run\n"
        f"assert grus_benchmarks.__file__.startswith({str(installed)!r})\n"
        "sys.argv = ['grus', 'bench', '--shapes', '1,1,2,2', '--blocks', '1']\nrun()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("T1 B1 I2 H2")
