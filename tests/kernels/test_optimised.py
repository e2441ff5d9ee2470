"""Python without assertions (python -O): the same results, the same refusals."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "grus"

SMOKE = """
import numpy as np
import grus
from grus.errors import InputError
from grus.runtime import run as kernels_run
from grus.kernels.several_calls import Part, together
import array

assert False, "assertions must be off, or nothing is shown"

def refused(call):
    try:
        call()
    except InputError:
        return
    raise SystemExit("not refused")

cell, rng = grus.CELLS["gru"], np.random.default_rng(0)
weights = {f: rng.normal(size=cell.family_shape(f, {"input": 3, "hidden": 4})) for f in "WUbd"}
x = rng.normal(size=(5, 2, 3))
fast = grus.run("gru", weights, x)
from grus.reference import run
slow = run(cell, weights, x)
if not np.allclose(fast.output, slow.output, atol=1e-12):
    raise SystemExit("wrong output")

refused(lambda: grus.run("gru", weights, x[:, :, :2]))
refused(lambda: grus.run("gru", weights, x, np.zeros((3, 4))))
refused(lambda: grus.run("gru", weights | {"U": weights["U"][:, :3]}, x))
refused(lambda: grus.run("gru", weights, x, lengths=np.array([5, 6])))
refused(lambda: grus.run("gru", weights, x.astype("f4"), threads=0))
refused(lambda: together([Part(0, array.array("q", [0]), (0,))], 1))
"""
TRAINS = """
import torch
layer = grus.GRU(3, 4, dtype=torch.float64)
theirs = torch.nn.GRU(3, 4, dtype=torch.float64)
theirs.load_state_dict(layer.state_dict())
for one in (layer, theirs):
    one(torch.from_numpy(x))[0].square().sum().backward()
for own, other in zip(layer.parameters(), theirs.parameters()):
    if not torch.allclose(own.grad, other.grad, atol=1e-12):
        raise SystemExit("wrong gradient")
refused(lambda: layer(torch.zeros(5, 2, 2, dtype=torch.float64)))
refused(lambda: layer(torch.from_numpy(x), torch.zeros(1, 3, 4, dtype=torch.float64)))
"""


@pytest.mark.parametrize("code", [SMOKE, SMOKE + TRAINS], ids=["arrays", "layers"])
def test_without_assertions_results_and_refusals_are_the_same(code: str) -> None:
    if code != SMOKE:
        pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def narrows(test: ast.expr) -> bool:
    """An assertion that tells a type checker what is known: isinstance, or not None."""
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id == "isinstance"
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.IsNot)
        and isinstance(test.comparators[0], ast.Constant)
        and test.comparators[0].value is None
    )


def checks(source: str) -> list[str]:
    """The assertions that check something."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert) and not narrows(node.test)
    ]


def test_no_assertion_of_the_package_checks_an_argument() -> None:
    found = {p.name: checks(p.read_text("utf-8")) for p in SOURCE.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source", ["assert a.shape == b.shape", "assert n", "assert a is None", "assert all(x)"]
)
def test_an_assertion_that_checks_is_seen(source: str) -> None:
    assert len(checks(source)) == 1
