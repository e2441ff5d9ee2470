"""What has no place in the project: paths of one machine, addresses of registries."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from imports import ROOT

# Bracketed letters keep a pattern from finding itself.
FORBIDDEN = {
    "a path of one machine": r"(^|[\s\"'(=])/(wor[k]|roo[t]|far[m]|home/[a-z]|User[s])/",
    "a registry's address": r"pyp[i]\.org|pythonhoste[d]\.org|download\.pytorc[h]|anacond[a]\.org",
    "a number on somebody's list": r"\bissu[e] #?\d|\btas[k] #?\d",
    "something left to do": r"\b(?-i:TOD[O]|FIXM[E]|XX[X])\b",
}


def tracked() -> list[str]:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def text_of(path: Path) -> str:
    """What can be read in a file: nothing of a picture's bytes, where any letters may stand."""
    raw = path.read_bytes()
    text = "" if b"\0" in raw else raw.decode("utf-8", errors="replace")
    return re.sub(r'"image/png": "[^"]*"', "", text)


def found(text: str) -> list[str]:
    return [what for what, pattern in FORBIDDEN.items() if re.search(pattern, text, re.M | re.I)]


def test_no_tracked_file_holds_a_forbidden_word() -> None:
    wrong = {}
    for name in tracked():
        path = ROOT / name
        if path.is_file():
            words = found(text_of(path))
            wrong |= {name: words} if words else {}
    assert wrong == {}


@pytest.mark.parametrize(
    "text",
    [
        "cd /wor" + "k/main",
        "see issu" + "e 12",
        "pip install -i https://pyp" + "i.org/simple",
        "# TOD" + "O later",
    ],
)
def test_each_of_them_would_be_seen(text: str) -> None:
    assert len(found(text)) == 1
