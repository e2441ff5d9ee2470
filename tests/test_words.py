"""What has no place in the project: paths of one machine, addresses of registries."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from grus.equations.text import counted
from house import ROOT, files, of_package, room_of

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


NOUNS = (
    "seeds|steps|rows|cells|layers|runs|curves|characters|parameters|bytes|threads|symbols|units"
    "|numbers|states|tensors|places|cases|files|problems|features|tokens|voices|words|nodes|values"
    "|gates|models|lags|equations|directions"
)
PRINTED = ("cli", "comparison", "worksheet", "diagram", "check", "pictures", "traces")
"""Rooms whose texts people read."""
NEVER_ONE = {
    "halves steps",  # a number with a fraction
    "middle steps",
    "all_rows rows",  # more than are shown
    "cut bytes",  # four of a number at least
    "number * size bytes",
    "parameters * size bytes",
    "len(losses) seeds",  # said of several only
    "self.layers layers",
}


def uncounted(source: str) -> list[str]:
    """Numbers put before a plural, which would be wrong for one: "{seeds} seeds"."""
    plural = re.compile(rf" ({NOUNS})\b(?!/)")
    found, tree = [], ast.parse(source)
    refusals = {id(n) for r in ast.walk(tree) if isinstance(r, ast.Raise) for n in ast.walk(r)}
    for node in (one for one in ast.walk(tree) if id(one) not in refusals):
        for one, after in pairwise(node.values if isinstance(node, ast.JoinedStr) else ()):
            if isinstance(one, ast.FormattedValue) and isinstance(after, ast.Constant):
                word = plural.match(str(after.value))
                if word:
                    found.append(ast.unparse(one.value) + word[0])
    return found


def test_the_plural_of_one_is_never_said() -> None:
    wrong = {}
    for path in files():
        if room_of(path) in PRINTED:
            said = [one for one in uncounted(path.read_text("utf-8")) if one not in NEVER_ONE]
            wrong |= {path.name: said} if said else {}
    assert wrong == {}
    assert [counted(n, "seed") for n in (0, 1, 1000)] == ["0 seeds", "1 seed", "1,000 seeds"]
    assert uncounted('f"a {n} steps"') == ["n steps"]


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


PRONOUNS = {
    "found", "one", "own", "given", "made", "said", "told", "here", "there", "mine", "theirs",
}  # fmt: skip
BINDING = {
    "dialects": 80,
    "identification": 66,
    "files": 65,
    "onnx": 59,
    "equations": 28,
    "mistakes": 19,
    "zoo": 2,
    "cli": 1,
    "runtime": 1,
}
"""Room -> its functions in which a pronoun is the name of a value; each number may only fall."""


def pronouns(source: str) -> list[str]:
    """The functions in which a value or a parameter is called by a word that says nothing of it."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return [function.name for function in functions if PRONOUNS & set(bound_names(function))]


def bound_names(function: ast.AST) -> list[str]:
    """The names that a function and all that stands in it give: parameters and values."""
    nodes = list(ast.walk(function))
    values = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return values + [n.arg for n in nodes if isinstance(n, ast.arg)]


def test_values_are_called_what_they_hold() -> None:
    counts: Counter[str] = Counter()
    for path in of_package():
        counts[room_of(path)] += len(pronouns(path.read_text("utf-8")))
    assert {room: n for room, n in counts.items() if n > BINDING.get(room, 0)} == {}


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    found = x\n    return found",
        "def f(given):\n    return 0",
        "def f(*, own=1):\n    return 0",
        "async def f(x):\n    return [one for one in x]",
        "def f(x):\n    return sorted(x, key=lambda one: -one)",
    ],
)
def test_a_pronoun_is_seen(source: str) -> None:
    assert pronouns(source) == ["f"]
    assert pronouns(re.sub(rf"\b({'|'.join(PRONOUNS)})\b", "row", source)) == []
