"""A page is one file that names no address, holds the module, and is of character models alone."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from cells_built import model_of, weights_of

import grus
from grus.builds import Model, build, wasm_files
from grus.builds.model import layer
from grus.builds.page_file import watched
from grus.builds.step_program import StepProgram
from grus.builds.targets import simulated
from grus.equations.flat import gates
from grus.errors import InputError
from grus.kernels import MACHINES

SYMBOLS = tuple("\n <>abcdéΩ")
HIDDEN = 7
"""A step then keeps an odd number of numbers on the stack."""
linked = pytest.mark.skipif(
    not (shutil.which("wasm-ld") or find_spec("ziglang")), reason="there is no wasm-ld"
)


def character_model(name: str, onehot: bool = False) -> Model:
    """An embedding, two layers of a cell, and scores."""
    cell, count, inputs = grus.cell(name), len(SYMBOLS), len(SYMBOLS) if onehot else 5
    first = layer("one", cell, weights_of(cell, inputs, HIDDEN), inputs)
    second = layer("two", cell, weights_of(cell, HIDDEN, HIDDEN, seed=1), HIDDEN)
    scores = model_of(grus.Cell.parse("h_next = W.h @ x + b.h", "linear"), HIDDEN, count).layers
    table = None if onehot else weights_of(cell, 5, count)["W"][:count]
    return Model((first, second, *scores), table, SYMBOLS)


def inside(text: str, part: str) -> str:
    """The text of one of the page's scripts."""
    (found,) = re.findall(rf'<script [^>]*id="{part}">(.*?)</script>', text)
    return str(found)


@linked
@pytest.mark.parametrize("onehot", [False, True])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_page_is_one_file_that_holds_the_module(
    onehot: bool, weights: str, tmp_path: Path
) -> None:
    model = character_model("gru", onehot)
    built = build(model, tmp_path, "page", name="birds", weights=weights)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["birds.html"] == [*built.files]
    text = (tmp_path / "birds.html").read_text("utf-8")
    rest = text.replace(inside(text, "wasm"), "")
    assert not re.search(r"https?:|//\w|@import|url\(|src=|@[A-Z]+@", rest)
    facts = json.loads(inside(text, "facts"))
    assert int(facts["size"]) == len(text.encode()) == len(built.files["birds.html"])
    assert (tuple(facts["symbols"]), facts["onehot"], built.bits) == (SYMBOLS, onehot, "sse2")
    module = base64.b64decode(inside(text, "wasm"), validate=True)
    if weights == "float32":
        program = StepProgram(watched(model), MACHINES["sse2"])
        assert module == wasm_files.wasm_file(program, "birds")


@pytest.mark.parametrize("name", ["torch", "lstm", "cho2014", "lem", "rnn_relu"])
def test_to_watch_gates_changes_no_bit(name: str) -> None:
    """The state holds them behind what it held; outputs and weights stay."""
    model, draw = character_model(name), np.random.default_rng(2)
    program, seen = (StepProgram(m, MACHINES["sse2"]) for m in (model, watched(model)))
    x = draw.integers(0, len(SYMBOLS), 12)
    assert simulated(seen, x).tobytes() == simulated(program, x).tobytes()
    assert [a.tobytes() for a in seen.packed] == [a.tobytes() for a in program.packed]
    for before, after in zip(program.steps, seen.steps, strict=True):
        assert [*after.states.of.items()][: len(before.states.of)] == [*before.states.of.items()]
    assert seen.state == program.state + 2 * HIDDEN * len(gates(grus.cell(name)))


def test_what_reads_numbers_is_refused(tmp_path: Path) -> None:
    for model in (model_of(grus.cell("gru")), replace(character_model("gru"), symbols=())):
        with pytest.raises(InputError, match="a page is of a character model"):
            build(model, tmp_path / "out", "page")
    with pytest.raises(InputError, match="has no fused multiply-add"):
        build(character_model("gru"), tmp_path / "out", "page", bits="avx2")
    assert not (tmp_path / "out").exists()


def test_without_a_linker_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(InputError, match="needs ziglang"):
        build(character_model("gru"), tmp_path / "out", "page")
    assert not (tmp_path / "out").exists()
