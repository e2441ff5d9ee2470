"""The checkpoint file: it comes back whole, and a hostile one is refused in one sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from grus.equations import Cell, cell as find_cell
from grus.errors import InputError
from grus.models import checkpoint, checkpoint_file, kept_run, run as runs
from small_run import finish, start, tensors

OWN = '''
from grus.equations import Cell, U, W, b, h, sigmoid, tanh, x


class Mgu(Cell):
    """The minimal gated unit."""

    f = sigmoid(W.f @ x + U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n
'''


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint in the middle of an epoch, with everything that one can hold."""
    run = start(tmp_path)
    finish(run, after=5)
    assert run.progress.chunk
    return tmp_path / "run" / kept_run.LAST


def header(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    found: dict[str, Any] = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["grus"])
    return found


def rewrite(path: Path, header: Any, tensors: dict[str, torch.Tensor] | None = None) -> None:
    """The same file with another header or other tensors."""
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors or load_file(path), path, {"grus": text})


def test_everything_comes_back(tmp_path: Path) -> None:
    run = start(tmp_path, cell="lstm", layers=2, dtype="float64")
    finish(run, after=5)
    found = checkpoint.load(tmp_path / "run" / kept_run.LAST)
    assert found.architecture == run.model.architecture
    assert found.settings == run.settings
    assert found.source == run.source
    assert found.progress == run.progress
    for name, weight in found.model().named_weights().items():
        assert torch.equal(weight, run.weights[name])
    assert found.tensors["state.c"].shape == (2, 4, 12)
    assert not found.model().training


def test_the_file_says_what_it_is(saved: Path) -> None:
    """Equations, dialect, sizes, vocabulary and version are there in plain JSON."""
    found = header(saved)
    assert found["cell"]["equations"] == str(find_cell("gru"))
    assert found["dialect"] == "torch"
    assert found["version"] == 1
    assert found["model"]["hidden"] == 12
    assert "q" in found["vocabulary"]["symbols"]
    assert "recurrent.weight_ih_l0" in load_file(saved)


def test_a_cell_of_ones_own_needs_its_file_no_more(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    finish(start(tmp_path, cell=f"{file}:Mgu"), after=2)
    own = find_cell(f"{file}:Mgu")
    file.unlink()
    found = checkpoint.load(tmp_path / "run" / kept_run.LAST)
    assert found.architecture.cell == own
    assert found.architecture.cell.name == "mgu"
    finish(runs.resume(found, tmp_path / "run", found.source, found.settings), after=2)


Break = Callable[[dict[str, Any]], object]


def setting(*path: str, value: object) -> Break:
    """A break of the header: the field at ``path`` becomes ``value``."""

    def broken(header: dict[str, Any]) -> None:
        for name in path[:-1]:
            header = header[name]
        header[path[-1]] = value

    return broken


RUNS_CODE = "h_next = __import__('os').system('touch hacked')"
DEEP = "h_next = " + "-(" * 90 + "h" + ")" * 90 + " + " + " + ".join(["h"] * 900)
HEADERS: dict[str, Break] = {
    "another format": setting("format", value="a picture"),
    "a later version": setting("version", value=2),
    "another dialect": setting("dialect", value="keras"),
    "no cell": lambda h: h.pop("cell"),
    "code for a cell": setting("cell", "equations", value=RUNS_CODE),
    "a cell nested deeply": setting("cell", "equations", value=DEEP),
    "another cell": setting("cell", "equations", value=str(find_cell("lstm"))),
    "a cell's name with a line break": setting("cell", "name", value="gru\nevil"),
    "an unknown field": setting("model", "evil", value=1),
    "a missing field": lambda h: h["settings"].pop("lr"),
    "more hidden units": setting("model", "hidden", value=13),
    "absurdly many hidden units": setting("model", "hidden", value=10**6),
    "hidden units beyond all numbers": setting("model", "hidden", value=10**30),
    "negative hidden units": setting("model", "hidden", value=-12),
    "hidden units as text": setting("model", "hidden", value="12"),
    "true hidden units": setting("model", "hidden", value=True),
    "absurdly many layers": setting("model", "layers", value=10**6),
    "another input": setting("model", "input", value="onehot"),
    "another dtype": setting("model", "dtype", value="float64"),
    "a shorter vocabulary": setting("vocabulary", "symbols", value="abc"),
    "an unsorted vocabulary": setting("vocabulary", "symbols", value="cba"),
    "half a symbol": setting("vocabulary", "symbols", value="a\ud800"),
    "another batch": setting("settings", "batch", value=5),
    "a batch beyond all numbers": setting("settings", "batch", value=10**30),
    "another optimizer": setting("settings", "optimizer", value="sgd"),
    "no learning rate": setting("settings", "lr", value=None),
    "a learning rate beyond all numbers": setting("settings", "lr", value=10**400),
    "too many threads": setting("settings", "threads", value=10**9),
    "a negative step": setting("progress", "step", value=-1),
    "settings that are a list": setting("settings", value=[]),
    "a text that is a number": setting("text", "file", value=7),
    "a text's name with a line break": setting("text", "file", value="a\nb"),
    "a text's name that steers the terminal": setting("text", "file", value="a\x1b[2J"),
    "a text's name with an end of string": setting("text", "file", value="a\0b"),
    "an equation that steers the terminal": setting("cell", "equations", value="\x1b[2J = h"),
    "an optimizer of a million letters": setting("settings", "optimizer", value="\x1b" * 10**6),
    "a gate that steers the terminal": setting("settings", "gate_bias", value={"\x1b[2J": "1"}),
}


@pytest.mark.parametrize("name", list(HEADERS))
def test_a_header_that_cannot_be_is_refused(
    saved: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    found = header(saved)
    HEADERS[name](found)
    rewrite(saved, found)
    with pytest.raises(InputError) as caught:
        checkpoint.load(saved)
    message = str(caught.value)
    assert str(saved) in message
    assert message.isprintable()
    assert len(message) < 1000
    assert not (saved.parent / "hacked").exists()


def test_a_header_is_refused_before_anything_is_allocated(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million hidden units would be terabytes; building the model must not be tried."""
    found = header(saved)
    found["model"]["hidden"] = 10**6
    rewrite(saved, found)
    real = torch.empty

    def watched(*size: Any, **kind: Any) -> torch.Tensor:
        assert str(kind.get("device")) == "meta", "memory was asked for"
        return real(*size, **kind)

    monkeypatch.setattr(torch, "empty", watched)
    with pytest.raises(InputError, match="must be float32"):
        checkpoint.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[1]", "NaN", '{"format": NaN}', "[" * 100_000])
def test_metadata_that_is_no_object_is_refused(saved: Path, text: str) -> None:
    rewrite(saved, text)
    with pytest.raises(InputError, match="not a grus"):
        checkpoint.load(saved)


def test_a_number_that_is_none_is_refused(saved: Path) -> None:
    rewrite(saved, json.dumps(header(saved)).replace('"lr": 0.002', '"lr": NaN'))
    with pytest.raises(InputError, match="lr"):
        checkpoint.load(saved)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="not a grus checkpoint"):
        checkpoint.load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("name", ["linear.bias", "adam.exp_avg.linear.bias", "state.h", "random"])
def test_tensors_must_be_those_of_the_cell(saved: Path, name: str) -> None:
    """Missing, extra, of another shape, of another dtype, with a NaN: each is refused."""
    good, found = load_file(saved), header(saved)
    without = {n: t for n, t in good.items() if n != name}
    reshaped = {**good, name: torch.cat([good[name], good[name]])}
    retyped = {**good, name: good[name].to(torch.int32)}
    for broken in (without, {**good, "more": torch.zeros(1)}, reshaped, retyped):
        rewrite(saved, found, broken)
        with pytest.raises(InputError, match=r"do not fit the cell|must be"):
            checkpoint.load(saved)
    if name != "random":
        good[name].view(-1)[0] = torch.nan
        rewrite(saved, found, good)
        with pytest.raises(InputError, match=f"{name} holds NaN"):
            checkpoint.load(saved)


def test_every_cut_of_the_file_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    cuts = [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]
    for cut in cuts:
        saved.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="not a whole safetensors file"):
            checkpoint.load(saved)
    saved.write_bytes(whole + b"x")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        checkpoint.load(saved)


def test_random_bytes_are_refused(saved: Path) -> None:
    noise = torch.Generator().manual_seed(0)
    for _ in range(50):
        raw = torch.randint(256, (200,), generator=noise, dtype=torch.uint8).numpy().tobytes()
        saved.write_bytes(raw)
        with pytest.raises(InputError, match="not a whole safetensors file"):
            checkpoint.load(saved)


def test_a_header_larger_than_any_real_one_is_not_read(saved: Path) -> None:
    with saved.open("r+b") as file:
        file.write(struct.pack("<Q", checkpoint_file.MAX_HEADER + 1))
        file.truncate(checkpoint_file.MAX_HEADER + 100)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        checkpoint.load(saved)


@pytest.mark.parametrize("field", ["offset", "chunk"])
def test_a_place_beyond_the_text_is_refused(saved: Path, field: str) -> None:
    found = header(saved)
    found["progress"][field] = 10**9
    rewrite(saved, found)
    loaded = checkpoint.load(saved)
    with pytest.raises(InputError, match="beyond the text"):
        runs.resume(loaded, saved.parent, loaded.source, loaded.settings)


def test_a_generators_state_that_is_none_is_refused(saved: Path) -> None:
    rewrite(saved, header(saved), {**load_file(saved), "random": torch.full((5056,), 255).byte()})
    loaded = checkpoint.load(saved)
    with pytest.raises(InputError, match="not a random generator's state"):
        runs.resume(loaded, saved.parent, loaded.source, loaded.settings)


def test_no_checkpoint_where_one_is_expected(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(InputError, match="expected a checkpoint"):
            checkpoint.load(path)


def test_nothing_is_unpickled(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr("pickle.load", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    assert isinstance(checkpoint.load(saved).architecture.cell, Cell)
    assert set(tensors(saved.parents[1])) > {"random"}
