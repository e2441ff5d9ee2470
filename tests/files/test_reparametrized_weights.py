"""State dicts in which torch keeps a weight as parts give the weight that the module computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_files import need

from grus.errors import InputError
from grus.files.formats import load
from grus.files.layers import find_layers

pytestmark = pytest.mark.torch
NAME = "weight_hh_l0"


def old_weight_norm(layer: Any, torch: Any, **more: Any) -> None:
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(layer, NAME, **more)


def pruned(layer: Any, torch: Any) -> None:
    from torch.nn.utils import prune

    prune.random_unstructured(layer, NAME, 0.3)
    prune.random_unstructured(layer, "bias_ih_l0", 0.5)


KEPT: dict[str, Callable[[Any, Any], object]] = {
    "weight norm of before": old_weight_norm,
    "weight norm of the whole": lambda m, t: old_weight_norm(m, t, dim=None),
    "weight norm of columns": lambda m, t: old_weight_norm(m, t, dim=1),
    "weight norm": lambda m, t: t.nn.utils.parametrizations.weight_norm(m, NAME),
    "weight norm, columns": lambda m, t: t.nn.utils.parametrizations.weight_norm(m, NAME, dim=1),
    "spectral norm of before": lambda m, t: t.nn.utils.spectral_norm(m, NAME),
    "spectral norm of columns": lambda m, t: t.nn.utils.spectral_norm(m, NAME, dim=1),
    "spectral norm": lambda m, t: t.nn.utils.parametrizations.spectral_norm(m, NAME),
    "pruned": pruned,
}


@pytest.mark.parametrize("path", ["", "net.gru."])
@pytest.mark.parametrize("how", KEPT)
def test_a_weight_kept_as_parts_is_the_module_s(how: str, path: str, tmp_path: Path) -> None:
    """Within float32's rounding in torch: a norm or two products of at most 12 terms."""
    torch = need("torch")
    torch.manual_seed(0)
    layer = torch.nn.GRU(3, 4).eval()
    KEPT[how](layer, torch)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5)
        layer.eval()
        x = torch.randn(5, 2, 3)
        layer(x)
        wanted = {n: getattr(layer, n).numpy() for n in (NAME, "bias_ih_l0")}
    torch.save({f"{path}{n}": t for n, t in layer.state_dict().items()}, tmp_path / "a.pt")
    contents = load(tmp_path / "a.pt")
    assert any(f"{path}{NAME} is put together from" in note for note in contents.notes)
    (found,) = find_layers(contents)
    (reading,) = found.readings
    assert found.path == path.rstrip(".")
    for name, array in wanted.items():
        bound = 32 * float(np.finfo("f4").eps) * np.abs(array).max()
        assert np.abs(reading.tensors[name] - array).max() <= bound


def test_parts_of_an_unknown_kind_are_named(tmp_path: Path) -> None:
    torch = need("torch")

    class Twice(torch.nn.Module):
        def forward(self, weight: Any) -> Any:
            return 2 * weight

    layer = torch.nn.GRU(3, 4)
    torch.nn.utils.parametrize.register_parametrization(layer, "bias_hh_l0", Twice())
    torch.save({f"gru.{n}": t for n, t in layer.state_dict().items()}, tmp_path / "a.pt")
    contents = load(tmp_path / "a.pt")
    assert "remove_parametrizations(module, 'bias_hh_l0')" in contents.unread["gru.bias_hh_l0"]
    (found,) = find_layers(contents)
    with pytest.raises(InputError, match=r"^the layer at gru: "):
        _ = found.readings
    layer = torch.nn.GRU(3, 4)
    torch.save(layer.state_dict() | {"bias_hh_l0_orig": layer.bias_hh_l0}, tmp_path / "a.pt")
    (found,) = find_layers(load(tmp_path / "a.pt"))
    with pytest.raises(InputError, match="bias_hh_l0_orig stands at the layer's path"):
        _ = found.readings


def test_dropped_connections_are_read_as_in_evaluation(tmp_path: Path) -> None:
    """fastai's WeightDropout keeps the trained weight as ..._raw, and beside it one that is
    dropped anew at each step."""
    torch = need("torch")
    layer = torch.nn.LSTM(3, 4)
    state = {f"rnns.0.module.{n}": t for n, t in layer.state_dict().items()}
    raw = state[f"rnns.0.module.{NAME}"]
    state[f"rnns.0.{NAME}_raw"], state[f"rnns.0.module.{NAME}"] = raw, torch.zeros_like(raw)
    torch.save(state, tmp_path / "a.pth")
    (found,) = find_layers(load(tmp_path / "a.pth"))
    assert np.array_equal(found.readings[0].tensors[NAME], raw.numpy())
