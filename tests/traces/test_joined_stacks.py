"""Stacks whose layers are joined, traced: what a layer read, its own values, and its gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

import grus  # noqa: E402
from grus.models import checkpoint, kept_run  # noqa: E402
from grus.traces.flow import float64_rows, gradient_flow, through  # noqa: E402
from grus.traces.layer import read  # noqa: E402
from grus.traces.runs import flow_run, trace_text  # noqa: E402
from small_run import finish, start  # noqa: E402

pytestmark = pytest.mark.torch
KINDS = ("residual", "highway", "dense")
TIME, BATCH, SIZE, LAYERS = 30, 2, 4, 3
every = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, both: bool = False) -> Any:
    torch.manual_seed(0)
    options: Any = {"bidirectional": both, "connect": kind, "dtype": torch.float64}
    return grus.GRU(5 if kind == "dense" else SIZE * (1 + both), SIZE, LAYERS, **options)


def data(layer: Any) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(TIME, BATCH, layer.input_size, dtype=torch.float64)


def single(layer: Any, k: int, size: int) -> Any:
    """Layer k alone and plain."""
    one = grus.GRU(size, SIZE, bidirectional=layer.bidirectional, dtype=torch.float64)
    one.load_state_dict({
        name: getattr(layer, name.replace("_l0", f"_l{k}")) for name in one.state_dict()
    })  # fmt: skip
    return one


def above(layer: Any, k: int, x: Tensor, y: Tensor) -> Tensor:
    """What layer k + 1 reads."""
    if layer.connect == "dense":
        return y if k == LAYERS - 1 else torch.cat([x, y], -1)
    if layer.connect == "residual":
        return x + y
    ends = ("", "_reverse")[: 1 + layer.bidirectional]
    weight = torch.cat([getattr(layer, f"highway_weight_l{k}{end}") for end in ends])
    bias = torch.cat([getattr(layer, f"highway_bias_l{k}{end}") for end in ends])
    t = torch.sigmoid(x @ weight.T + bias)
    return t * y + (1 - t) * x


def apart(found: Any, want: Any) -> float:
    return float(np.nanmax(np.abs(np.asarray(found) - np.asarray(want))))


@pytest.mark.parametrize("lengths", [None, [TIME, 11]], ids=["whole", "lengths"])
@pytest.mark.parametrize("both", [False, True], ids=["one direction", "two directions"])
@every
def test_every_layer_is_traced_from_what_it_read(kind: str, both: bool, lengths: Any) -> None:
    layer = made(kind, both)
    x = data(layer)
    trace = grus.trace(layer, x, lengths=lengths)
    assert trace.names == ("r", "z", "n", "h")
    with torch.no_grad():
        output, state = layer(x, lengths=lengths)
        for k in range(LAYERS):
            one = single(layer, k, x.shape[2])
            alone = grus.trace(one, x, lengths=lengths)
            for name in trace.names:
                assert apart(trace[name][k], alone[name][0]) < 1e-13
            y, _ = one(x, lengths=lengths)
            x = above(layer, k, x, y)
    valid = torch.arange(TIME)[:, None] < torch.tensor(lengths or [TIME] * BATCH)
    assert apart(x * valid[..., None], output) < 1e-13
    for row in range(BATCH):
        last = (lengths or [TIME] * BATCH)[row] - 1
        assert trace["h"][-1, 0, last, row].tobytes() == state[-1 - both, row].numpy().tobytes()


def test_a_trace_that_forgets_the_sum_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = made("residual")
    x = data(layer)
    monkeypatch.setattr(layer, "_records", (layer.record,) * LAYERS)
    trace = grus.trace(layer, x)
    with torch.no_grad():
        below = x + single(layer, 0, SIZE)(x)[0]
        alone = grus.trace(single(layer, 1, SIZE), below)
    assert apart(trace["z"][0], grus.trace(single(layer, 0, SIZE), x)["z"][0]) < 1e-13
    assert apart(trace["z"][1], alone["z"][0]) > 1e-3


@pytest.mark.parametrize("at", range(LAYERS))
@every
def test_gradients_flow_along_the_shortcuts(kind: str, at: int) -> None:
    """The norm at the first step of layer ``at`` against autograd's, through layers by hand."""
    layer = made(kind)
    given = x = data(layer)
    torch.manual_seed(2)
    dy = torch.randn(BATCH, SIZE, dtype=torch.float64)
    cells, weights = float64_rows(read(layer))
    starts = [(np.zeros((BATCH, SIZE)),)] * LAYERS
    dense = kind == "dense"
    flows = through(cells, weights, given.numpy(), starts, dy.numpy(), dense=dense)
    for k in range(LAYERS):
        one = single(layer, k, x.shape[2])
        if k == at:
            begun, state = one(x[:1])
            first = state.detach().requires_grad_()
            y = torch.cat([first, one(x[1:], first)[0]])
            assert begun.equal(state)
        else:
            y, _ = one(x)
        x = above(layer, k, x, y)
    (gradient,) = torch.autograd.grad((dy * x[-1]).sum(), first)
    want = gradient[0].norm(dim=-1)
    assert apart(flows[at]["h"][TIME - 1], want) < 1e-12 * max(1.0, float(want.max()))
    assert gradient_flow(layer, lags=20).norms[0] > 0


@every
def test_a_runs_layers_are_traced_as_the_model_computes_them(tmp_path: Path, kind: str) -> None:
    finish(start(tmp_path, layers=3, hidden=6, dtype="float64", connect=kind), after=3)
    text = "the lazy dog"
    trace = trace_text(tmp_path / "run", text)
    model = checkpoint.load(kept_run.find(tmp_path / "run")).model()
    ids = torch.from_numpy(model.architecture.vocabulary.encode(text))[:, None]
    with torch.no_grad():
        _, states = model(ids)
    for k, state in enumerate(states):
        assert trace["h"][k, 0, -1].tobytes() == state[0].numpy().tobytes()
    flows = flow_run(tmp_path / "run", "the quick brown fox jumps over the lazy dog", lags=9)
    assert len(flows) == 3
    assert all(np.isfinite(flow.norms).all() for flow in flows)
