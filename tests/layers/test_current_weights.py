"""A layer's weights as its next call sees them, whatever torch makes them from, in every room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm  # noqa: E402

import grus  # noqa: E402
from grus.layers.held import hold_layer  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")]
T, B, I, H = 6, 2, 3, 4  # noqa: E741

PRUNED: Any = prune.random_unstructured
MADE: dict[str, Callable[[nn.Module], Any]] = {
    "weight norm": lambda m: weight_norm(m, "weight_hh_l0"),
    "two of it": lambda m: weight_norm(weight_norm(m, "weight_hh_l0"), "weight_ih_l0"),
    "spectral norm": lambda m: spectral_norm(m, "weight_hh_l0"),
    "pruned": lambda m: PRUNED(m, "weight_hh_l0", 0.5),
    "a pruned bias": lambda m: PRUNED(m, "bias_hh_l0", 0.5),
    "parametrized norm": lambda m: parametrizations.weight_norm(m, "weight_hh_l0"),
    "parametrized spectral norm": lambda m: parametrizations.spectral_norm(m, "weight_hh_l0"),
}


def stepped(name: str, kind: Any) -> Any:
    """A layer whose optimizer has stepped since its last call."""
    torch.manual_seed(3)
    layer = kind(I, H)
    MADE[name](layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    layer(torch.randn(T, B, I))[0].square().sum().backward()
    optimizer.step()
    return layer


@pytest.mark.parametrize("kind", [nn.GRU, grus.GRU])
@pytest.mark.parametrize("name", MADE)
def test_every_room_reads_the_weights_of_the_next_call(
    name: str, kind: Any, tmp_path: Path
) -> None:
    layer, x = stepped(name, kind), torch.randn(T, B, I)
    before = {n: t.clone() for n, t in layer.state_dict().items()}
    trace = grus.trace(layer, x)
    grus.onnx.save(layer, tmp_path / "layer.onnx")
    ours = grus.accelerate(layer, say=None)
    serve, held = ours.stepper(), hold_layer(ours, {})
    y = [serve(x[0])[0]]
    assert all(torch.equal(t, before[n]) for n, t in layer.state_dict().items())
    layer.eval()
    with torch.no_grad():
        want = layer(x)[0]
        assert (held.eval()(x)[0] - want).abs().max() <= 1e-6
    assert np.abs(trace["h_next"][0, 0] - want.numpy()).max() <= 1e-6
    assert (y[0] - want[0]).abs().max() <= 1e-6
    again = grus.onnx.load(tmp_path / "layer.onnx").run({"x": x.numpy()})
    assert np.abs(next(iter(again.values())).reshape(want.shape) - want.numpy()).max() <= 1e-5


@pytest.mark.parametrize("recorded", [True, False])
def test_a_parameter_whose_storage_shrinks_after_a_call_is_refused(recorded: bool) -> None:
    layer, x = grus.GRU(I, H), torch.randn(T, B, I)
    with torch.set_grad_enabled(recorded):
        layer(x)
        layer.weight_hh_l0.untyped_storage().resize_(4)
        with pytest.raises(grus.InputError, match="weight_hh has a storage of 4 bytes"):
            layer(x)
