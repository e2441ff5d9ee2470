"""Layers and models with gates held, their weights kept, and cells that have no weights at all."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from grus.equations import CELLS, CellError, cell, held_at
from grus.errors import InputError
from grus.layers import GRU, Recurrent
from grus.layers.held import hold_layer
from grus.models.language import hold_model
from grus.reference import run
from grus.runtime import run as compiled, values as kernel_values
from held import overwritten
from small_run import finish, start

pytestmark = pytest.mark.torch
ROUNDING = 2.0**-53
# Of five steps, each some thirty roundings of numbers below 10, which weights below 1 in size may
# amplify tenfold a step at most.
BOUND = 30 * 10 * 10**5 * ROUNDING

HOLDS = [
    ("gru", {"r": 1, "z": 0}),
    ("gru", {"r": 0, "z": 1}),
    ("gru", {"m": 0}),
    ("gru_reset_before", {"r": 0}),
    ("gru_reset_before", {"z": 0.5}),
    ("lstm", {"o": 0}),
    ("lstm", {"f": 1}),
    ("lstm_projected", {"i": 0.5}),
    ("lstm_projected", {"o": 0}),
]


def direction(layer: Recurrent, row: int, x: np.ndarray, values: dict[str, float]) -> np.ndarray:
    weights = {f: w.detach().numpy() for f, w in layer.layer_weights(row).items()}
    state = tuple(np.zeros((x.shape[1], size)) for size in layer._state_sizes)
    return overwritten(layer.cell, weights, x, state, values)[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "values"), HOLDS, ids=str)
def test_a_held_layer_is_the_layer_with_the_value_overwritten(
    name: str, values: dict[str, float], bias: bool
) -> None:
    torch.manual_seed(0)
    size = {"proj_size": 2} if name == "lstm_projected" else {}
    layer = Recurrent(name, 3, 4, 2, bias, bidirectional=True, dtype=torch.float64, **size)  # type: ignore[arg-type]
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    found, _ = hold_layer(layer, values)(x)
    wanted = x.numpy()
    for k in (0, 2):
        forth = direction(layer, k, wanted, values)
        back = direction(layer, k + 1, wanted[::-1], values)[::-1]
        wanted = np.concatenate([forth, back], -1)
    assert np.abs(found.detach().numpy() - wanted).max() < BOUND
    assert all(torch.equal(before[key], now) for key, now in layer.state_dict().items())
    if values != {"r": 0, "z": 1}:
        assert np.abs(found.detach().numpy() - layer(x)[0].detach().numpy()).max() > 1e-3


def test_torchs_class_and_training_mode_are_held_too() -> None:
    layer = GRU(3, 4, batch_first=True).eval()
    held = hold_layer(layer, {"z": 1})
    start = torch.randn(1, 2, 4)
    output, state = held(torch.randn(2, 6, 3), start)
    assert torch.equal(state, start)
    assert torch.equal(output, start[0][:, None].expand(2, 6, 4))
    assert not held.training
    with pytest.raises(CellError, match="cell gru has no value 'f' to hold"):
        hold_layer(layer, {"f": 1})


@pytest.mark.parametrize("spec", ["gru[r=0,z=1]", "lstm[i=1,f=1,g=0.1,o=1]", "gru[n=0.3,z=0]"])
def test_a_cell_without_weights_is_a_layer_all_the_same(spec: str) -> None:
    layer = Recurrent(spec, 3, 4, 2, dtype=torch.float64)
    found = cell(spec)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    begin = tuple(torch.randn(2, 2, 4, dtype=torch.float64).requires_grad_() for _ in found.states)
    output, _ = layer(x, begin if len(begin) > 1 else begin[0])
    below = x.detach().numpy()
    for k in range(2):
        below = run(found, {}, below, tuple(b[k].detach().numpy() for b in begin)).output
    assert np.abs(output.detach().numpy() - below).max() < BOUND
    output.sum().backward()
    assert begin[-1].grad is not None
    assert layer.path(x) == "composite"
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}
    assert layer.float()(x.detach().float())[0].dtype == torch.float32
    assert repr(pickle.loads(pickle.dumps(layer))) == repr(layer)
    with pytest.raises(InputError, match="has no weights for a stepper"):
        layer.stepper()


@pytest.mark.parametrize(
    "spec", ["gru[r=0,z=1]", "lstm[i=1,f=1,g=0.1,o=1]", "gru[m=0]", "lstm[o=0]"]
)
def test_the_kernels_run_what_is_left(spec: str) -> None:
    found, rng = cell(spec), np.random.default_rng(1)
    size = {"input": 3, "hidden": 5}
    weights = {f: rng.normal(0, 0.5, found.family_shape(f, size)) for f in found.families}
    begin = tuple(rng.normal(size=(3, 5)) for _ in found.states)
    x = rng.normal(size=(5, 3, 3))
    lengths = np.array([5, 0, 2])
    fast = compiled(found, weights, x, begin, lengths=lengths)
    slow = run(found, weights, x, begin, lengths=lengths)
    assert np.abs(fast.output - slow.output).max() < BOUND
    for one, other in zip(fast.state, slow.state, strict=True):
        assert np.abs(one - other).max() < BOUND
    seen, _ = kernel_values(found, weights, x, begin)
    again = run(found, weights, x, begin)
    assert np.abs(seen["h_next"] - again.output).max() < BOUND
    if not found.families:
        with pytest.raises(InputError, match="give h0"):
            compiled(found, weights, x)


def test_a_held_cell_trains_is_saved_and_comes_back(tmp_path: Path) -> None:
    from grus.models.checkpoint import load

    for spec in ("gru[r=1,z=0]", "gru[z=1]"):
        folder = tmp_path / spec
        run = start(folder, cell=spec, layers=2)
        reports = finish(run).reports
        assert reports[-1].train_perplexity < reports[0].train_perplexity
        found = load(folder / "run" / "last.safetensors")
        assert found.architecture.cell == cell(spec)


def test_a_model_forgets_what_its_held_gate_would_have_taken_in(tmp_path: Path) -> None:
    run = start(tmp_path, layers=2)
    finish(run)
    model = run.model.eval()
    ids = torch.randint(len(run.model.architecture.vocabulary), (9, 2))
    assert hold_model(model, {}) is model
    shut = hold_model(model, {"z": 1})
    assert shut.architecture.cell == held_at(CELLS["gru"], {"z": 1})
    # Nothing is ever taken in: every step gives what the bias of the linear map alone says.
    with torch.no_grad():
        scores = shut(ids)[0]
        assert torch.equal(scores, model.linear.bias.expand_as(scores))
        reset, same = hold_model(model, {"r": 1})(ids)[0], model(ids)[0]
    assert not torch.allclose(reset, same)
    assert torch.equal(model.embedding.weight, shut.embedding.weight)
