"""Models whose layers are joined: one stack, its dropout, its checkpoint."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import grus
from grus.cli.main import app
from grus.equations import CELLS, cell as find_cell
from grus.errors import InputError
from grus.models import checkpoint, hold_model, kept_run
from grus.models.corpus import Architecture, Vocabulary
from grus.models.language import LanguageModel
from grus.models.memory_tasks import Adding, TaskModel
from small_run import finish, go_on, start, tensors

KINDS = ("residual", "highway", "dense")
LETTERS = Vocabulary("abcdefgh")
every = pytest.mark.parametrize("kind", KINDS)


def model(kind: str, dropout: float = 0.0, **changes: Any) -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"hidden": 6, "embedding": 6, "layers": 3, "dtype": "float64", **changes}
    return LanguageModel(Architecture(CELLS["gru"], LETTERS, connect=kind, **sizes), dropout)


def ids(time: int = 7) -> torch.Tensor:
    return torch.randint(8, (time, 3), generator=torch.Generator().manual_seed(1))


def stack(of: LanguageModel) -> Any:
    """The one layer that has the model's weights."""
    kind, shape = of.architecture.connect, of.architecture
    one = grus.GRU(shape.features, shape.hidden, 3, connect=kind, dtype=torch.float64)
    weights = {n: w for n, w in of.named_weights().items() if n.startswith("recurrent.")}
    one.load_state_dict({n.removeprefix("recurrent."): w for n, w in weights.items()})
    return one


@pytest.mark.parametrize("embedding", [6, 4])
@every
def test_a_model_is_one_stack_step_by_step_too(kind: str, embedding: int) -> None:
    of = model(kind, embedding=embedding).eval()
    with torch.no_grad():
        scores, after = of(ids())
        y, state = stack(of)(of.features(ids()))
        assert (of.linear(y) - scores).abs().max() < 1e-14
        assert (torch.cat(after) - state).abs().max() < 1e-14
        carried = None
        for t, now in enumerate(ids()):
            one, carried = of.step(now, carried)
            assert (one - scores[t]).abs().max() < 1e-14


@every
def test_dropout_is_of_a_layers_output_before_it_is_joined(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything dropped, what is left is what came past the layers."""
    of, seen = model(kind, dropout=0.5).train(), []
    x = of.features(ids())
    monkeypatch.setattr(LanguageModel, "_drop", lambda self, y, generator: y * 0)
    of.linear.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    of(ids())
    embedded = x * 0
    if kind == "highway":
        for layer in of.layers:
            weight, bias = layer.highway_weight_l0, layer.highway_bias_l0
            embedded = embedded * (1 - torch.sigmoid(embedded @ weight.T + bias))
    assert seen[0].equal(embedded)
    monkeypatch.undo()
    of.dropout = 0.0
    of(ids())
    assert float(seen[1].detach().abs().max()) > 0


@every
def test_a_checkpoint_brings_it_back_and_goes_on(tmp_path: Path, kind: str) -> None:
    options: Any = {"layers": 3, "connect": kind, "hidden": 6}
    finish(start(tmp_path / "whole", **options), after=8)
    finish(start(tmp_path / "parts", **options), after=5)
    loaded = checkpoint.load(tmp_path / "parts" / "run" / kept_run.LAST)
    assert loaded.architecture.connect == kind
    finish(go_on(tmp_path / "parts"), after=3)
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert all(whole[name].equal(parts[name]) for name in whole)
    assert any("highway" in name for name in whole) == (kind == "highway")


def test_a_plain_checkpoint_says_what_it_always_said(tmp_path: Path) -> None:
    finish(start(tmp_path, layers=2), after=1)
    raw = (tmp_path / "run" / kept_run.LAST).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["grus"])
    assert set(header["model"]) == {"hidden", "layers", "input", "embedding", "dtype"}


@every
def test_a_gate_can_be_held_in_it(kind: str) -> None:
    of = model(kind).eval()
    held = hold_model(of, {"z": 1.0})
    y, _ = stack(of)(of.features(ids()) * 0)
    with torch.no_grad():
        scores, _ = held(ids())
        x = of.features(ids())
        if kind == "residual":
            want = of.linear(x)
        elif kind == "dense":
            want = of.linear(y * 0)
        else:
            for layer in of.layers:
                gate = torch.sigmoid(x @ layer.highway_weight_l0.T + layer.highway_bias_l0)
                x = x * (1 - gate)
            want = of.linear(x)
    assert (scores - want).abs().max() < 1e-14


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--connect must be one of"):
        model("ladder")
    with pytest.raises(InputError, match="--connect dense has it read more"):
        Architecture(find_cell("sru"), LETTERS, hidden=6, embedding=6, layers=2, connect="dense")
    shape = Architecture(CELLS["gru"], LETTERS, hidden=6, connect="residual")
    with pytest.raises(InputError, match="make_layer"):
        LanguageModel(shape, make_layer=nn.GRU)
    finish(start(tmp_path, layers=2, connect="residual"), after=1)
    converted = CliRunner().invoke(
        app, ["convert", str(tmp_path / "run" / kept_run.LAST), str(tmp_path / "to.safetensors")]
    )
    assert converted.exit_code == 2


def test_a_tasks_layers_may_be_joined() -> None:
    of = TaskModel(Adding(20), CELLS["gru"], 6, layers=3, connect="residual")
    assert repr(of.layer) == "Recurrent(gru, 2, 6, num_layers=3, connect='residual')"
    x, y = of.task.draw(4, torch.Generator().manual_seed(0))
    assert float(of.loss(x, y)[0].detach()) > 0
