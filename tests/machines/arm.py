"""A Python for AArch64 that qemu runs on this machine: Debian's, and wheels beside it.

Nothing is installed: packages are unpacked into a folder outside the repository, once. Needs
Debian's tools (apt-get, dpkg-deb), pip, and qemu-aarch64 or qemu-aarch64-static (Debian's
qemu-user or qemu-user-static).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
VERSION = "3.11"
"""Debian 12's."""
PACKAGES = (f"python{VERSION}", "libstdc++6", "libgomp1")
WHEELS = ("numpy", "llvmlite", "hypothesis", "pytest")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")


class MissingError(Exception):
    """What this machine lacks, in a few words."""


def emulator() -> str:
    """qemu's program for AArch64, or what stands in for it."""
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        found = shutil.which(name)
        if found:
            return found
    raise MissingError("qemu-aarch64 is not installed (Debian: qemu-user-static)")


def root() -> Path:
    """The folder with a Python for AArch64, made on first use: GRUS_ARM_ROOT, or one of the user's
    cache."""
    qemu = emulator()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("GRUS_ARM_ROOT") or cache / "grus-aarch64")
    if not (folder / "ready").exists():
        for tool in ("apt-get", "dpkg-deb"):
            if not shutil.which(tool):
                raise MissingError(f"{tool} is not installed, and nothing is in {folder}")
        print(f"neon: unpacking a Python for AArch64 into {folder}, for {qemu}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _debian(folder)
        _wheels(folder / "site")
        (folder / "ready").touch()
    return folder


def python(folder: Path) -> list[str]:
    """The command that runs this tree's tests; Debian's OpenMP runtime stands in for torch's."""
    settings = {
        "PYTHONHOME": str(folder / "usr"),
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(REPOSITORY / "src")]),
        "LD_PRELOAD": str(folder / "usr/lib/aarch64-linux-gnu/libgomp.so.1"),
    }
    given = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
    return [emulator(), "-L", str(folder), *given, str(folder / f"usr/bin/python{VERSION}")]


def _debian(folder: Path) -> None:
    """Debian's packages and all that they need, by an apt that knows nothing of this machine."""
    apt = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True)
    (apt / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Sandbox::User": "",
        "Dir::State": str(apt),
        "Dir::State::lists": str(apt / "lists"),
        "Dir::State::status": str(apt / "status"),
        "Dir::Cache": str(apt / "cache"),
        "Debug::NoLocking": "true",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    _run("apt-get", "-qq", *options, "update")
    install = ("install", "--yes", "--no-install-recommends", "--download-only")
    _run("apt-get", "-qq", *options, *install, *PACKAGES)
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _run("dpkg-deb", "--extract", str(package), str(folder))
    shutil.rmtree(apt)


def _wheels(site: Path) -> None:
    """What the kernels and their tests import."""
    where = [part for name in PLATFORMS for part in ("--platform", name)]
    kind = ("--python-version", VERSION, "--only-binary=:all:", "--target", str(site))
    constraints = ("--constraint", str(REPOSITORY / "constraints.txt"))
    quiet = ("--quiet", "--disable-pip-version-check")
    pip = (sys.executable, "-m", "pip", "install")
    _run(*pip, *quiet, *where, *kind, *constraints, *WHEELS)


def _run(*command: str) -> None:
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise MissingError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
