"""`grus check`: the command around the kit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grus.cli.main import app

BACKEND = '''
import numpy as np


def gru(x, weights, h0=None):
    """Written from a paper: one bias, reset before the product."""
    w, u = weights["weight_ih_l0"], weights["weight_hh_l0"]
    size = u.shape[1]
    b = weights.get("bias_ih_l0", 0) + weights.get("bias_hh_l0", 0) + np.zeros(3 * size)
    h = np.zeros((x.shape[1], size)) if h0 is None else h0[0]
    outputs = []
    for now in x:
        r, z = (1 / (1 + np.exp(-(now @ w[k].T + h @ u[k].T + b[k])))
                for k in (slice(0, size), slice(size, 2 * size)))
        k = slice(2 * size, 3 * size)
        h = z * h + (1 - z) * np.tanh(now @ w[k].T + (r * h) @ u[k].T + b[k])
        outputs.append(h)
    return np.stack(outputs), h[None]
'''


def grus(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_backend_is_checked_and_its_mistake_named(folder: Path) -> None:
    (folder / "paper_gru.py").write_text(BACKEND)
    code, output = grus("check", "--backend", "paper_gru:gru")
    assert code == 1
    said = " ".join(output.split())
    assert "Likely cause: the reset before the product." in said
    assert "8 of 19 cases answered, 8 wrong" in said


def test_the_same_function_passes_as_what_it_is(folder: Path) -> None:
    (folder / "early_gru.py").write_text(BACKEND)
    words = ("--backend", "early_gru:gru", "--cell", "gru_reset_before", "--dtype", "float64")
    code, output = grus("check", *words)
    assert (code, "8 of 19 cases answered, 0 wrong" in output) == (0, True)


def test_vectors_go_out_and_answers_come_back(folder: Path) -> None:
    assert grus("check", "--out", "vectors.json", "--cell", "torch")[0] == 0
    vectors = json.loads((folder / "vectors.json").read_text())
    answers = {"cases": {c["name"]: c["expected"] for c in vectors["cases"]}}
    (folder / "answers.json").write_text(json.dumps(answers))
    code, output = grus("check", "--check", "answers.json")
    assert (code, "19 of 19 cases answered, 0 wrong" in output) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one of --backend, --out and --check is wanted"),
        (("--out", "a.json", "--check", "b.json"), "one of --backend"),
        (("--check", "b.json", "--gradients", "m:f"), "--gradients goes with --backend"),
        (("--backend", "nothing"), "MODULE:FUNCTION"),
        (("--backend", "no_such_module:f"), "no module 'no_such_module'"),
        (("--backend", "json:nothing"), "has no function 'nothing'"),
        (("--backend", "json:dumps", "--cell", "lstm"), "--cell must be one of"),
        (("--backend", "json:dumps", "--dtype", "float16"), "--dtype must be one of"),
        (("--out", "a.json", "--seed", "-1"), "--seed must be 0 or more"),
        (("--out", "no/such/folder.json"), "in a folder that exists"),
    ],
)
def test_what_cannot_be_is_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    code, output = grus("check", *words)
    assert code == 2
    assert said in output
    assert "\n" not in output.strip()
    assert list(folder.iterdir()) == []
