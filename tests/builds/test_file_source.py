"""A run or a weight file is read as the model that it holds, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from built import FLOAT32, FLOAT64, by_torch, coarse, in_float64, numbers
from safetensors.torch import save_file
from torch import nn

import grus
import small_run
from grus.builds import Model, read_model
from grus.errors import InputError
from grus.models.checkpoint import load as load_checkpoint

NO_ACTIVATION = "the file names no activations: none stands behind a linear layer"


@pytest.mark.parametrize(
    "model",
    [{"layers": 2}, {"input": "onehot", "cell": "lstm"}, {"layers": 2, "connect": "residual"}],
    ids=str,
)
def test_a_run_is_its_best_model_with_symbols(model: Mapping[str, object], tmp_path: Path) -> None:
    small_run.start(tmp_path, **model)
    built = read_model(tmp_path / "run")
    language = load_checkpoint(tmp_path / "run" / "last.safetensors").model()
    ids = language.architecture.vocabulary.encode("the quick brown fox")
    table = np.eye(len(built.symbols), dtype="f4") if built.embedding is None else built.embedding
    with torch.no_grad():
        scores, _ = language(torch.from_numpy(ids)[:, None])
    assert "".join(built.symbols) == language.architecture.vocabulary.symbols
    # Both sum 12 products of numbers up to 1 in float32, each with a weight up to 0.3.
    assert np.abs(built.run(table[ids]) - scores[:, 0].numpy()).max() < 2 * 13 * 0.3 * FLOAT32
    assert read_model(language).symbols == built.symbols
    assert read_model(tmp_path / "run" / "last.safetensors").symbols == built.symbols


class Tagger(nn.Module):
    """Two recurrent layers between linear ones, in the order of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 8, 2, batch_first=True)
        self.lstm = nn.LSTM(8, 5, batch_first=True)
        self.head = nn.Sequential(nn.Linear(5, 5), nn.Identity(), nn.Linear(5, 5, bias=False))
        self.out = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(self.gru(x)[0])
        return self.out(self.head(y))


def save(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    else:
        torch.save(dict(tensors), path)
    return path


@pytest.mark.parametrize("ending", [".pt", ".npz", ".safetensors"])
def test_a_state_dict_is_chained(ending: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = coarse(Tagger()), numbers(9, 3)
    model = read_model(save(tmp_path / f"m{ending}", module.state_dict()), dialect="torch")
    assert np.abs(in_float64(model, x) - by_torch(module, x)).max() < FLOAT64
    paths = ["gru.0", "gru.1", "lstm", "head.0", "head.2", "out"]
    assert [layer.path for layer in model.layers] == paths
    assert NO_ACTIVATION in model.notes


def test_an_order_that_no_size_tells_is_refused(tmp_path: Path) -> None:
    tensors = GRU | {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(4, 4)}
    assert len(read_model(save(tmp_path / "m.pt", tensors)).layers) == 3
    with pytest.raises(
        InputError, match=r"several orders: a \(4 -> 4\), b .*gru \(3 -> 4\); build"
    ):
        read_model(save(tmp_path / "m.safetensors", tensors))


def test_tensors_without_an_order_have_the_only_one_that_fits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    layers = {"zeta": nn.Embedding(11, 3), "gru": nn.GRU(3, 8), "a": nn.Linear(8, 5)}
    layers |= {"fc": nn.Linear(5, 5), "fc1": nn.Linear(5, 5)}
    tensors = {f"{n}.{k}": t for n, one in layers.items() for k, t in one.state_dict().items()}
    tensors = {name.replace("zeta", "embed"): tensor for name, tensor in tensors.items()}
    model = read_model(save(tmp_path / "m.safetensors", tensors))
    assert [layer.path for layer in model.layers] == ["gru", "a", "fc", "fc1"]
    assert model.embedding is not None
    assert model.embedding.shape == (11, 3)


def test_rtneural_names_its_activations(tmp_path: Path) -> None:
    w, u, b = numbers(3, 12), numbers(4, 12, seed=1), numbers(2, 12, seed=2)
    kernel, bias = numbers(4, 2, seed=3), numbers(2, seed=4)
    layers = [
        {"type": "gru", "activation": "", "weights": [w.tolist(), u.tolist(), b.tolist()]},
        {"type": "dense", "activation": "tanh", "weights": [kernel.tolist(), bias.tolist()]},
    ]
    path, x = tmp_path / "m.json", numbers(6, 3, seed=5)
    path.write_text(json.dumps({"in_shape": [None, None, 3], "layers": layers}))
    model = read_model(path)
    assert [str(layer.cell).split()[-1] for layer in model.layers][1] == "b.h)"
    first = Model(model.layers[:1])
    expected = np.tanh(in_float64(first, x) @ kernel.astype("f8") + bias)
    assert np.abs(in_float64(model, x) - expected).max() < FLOAT64
    path.write_text(json.dumps({"in_shape": [], "layers": [*layers, {"type": "conv1d"}]}))
    with pytest.raises(InputError, match="conv1d_2: conv1d cannot be built"):
        read_model(path)


@pytest.mark.parametrize("lengths", [False, True])
def test_a_layer_that_was_saved_as_onnx_is_read(lengths: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: make test-peers")
    module, x = coarse(nn.LSTM(3, 4, 2, batch_first=True)), numbers(6, 3)
    grus.onnx.save(module, tmp_path / "m.onnx", lengths=lengths)
    model = read_model(tmp_path / "m.onnx")
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(x).double()[None])[0][0].numpy()
    assert np.abs(in_float64(model, x) - expected).max() < FLOAT64
    assert any("lengths given to it" in note for note in model.notes) == lengths


GRU = {f"gru.{name}": tensor for name, tensor in nn.GRU(3, 4).state_dict().items()}
REFUSED = {
    "both ways": (nn.GRU(3, 4, bidirectional=True).state_dict(), "streaming: the backward"),
    "other tensors": (GRU | {"conv.weight": torch.zeros(2, 4, 3)}, r"conv\.weight \[2, 4, 3\]"),
    "other sizes": (
        GRU | {"fc.weight": torch.zeros(2, 5)},
        r"fit in no order: gru .*fc \(5 -> 2\)",
    ),
    "no layer": ({"fc.weight": torch.zeros(2, 5)}, "no recurrent layer of a dialect"),
    "nan": ({k: t * float("nan") for k, t in GRU.items()}, "holds NaN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_named(name: str, tmp_path: Path) -> None:
    tensors, message = REFUSED[name]
    path = save(tmp_path / "m.pt", tensors)
    with pytest.raises(InputError, match=message) as error:
        read_model(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_what_is_no_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        read_model(tmp_path)
    with pytest.raises(InputError, match="not found"):
        read_model(tmp_path / "none.pt")
    with pytest.raises(InputError, match="a build takes a torch module or a path, got int"):
        read_model(3)  # type: ignore[arg-type]


def test_many_layers_of_one_size_are_refused_at_once(tmp_path: Path) -> None:
    tensors = {
        f"{'abcdefghijkl'[k % 12]}{'xyz'[k // 12]}.weight": torch.zeros(4, 4) for k in range(36)
    }
    with pytest.raises(InputError, match="in several orders"):
        read_model(save(tmp_path / "m.safetensors", GRU | tensors))
    tensors["odd.weight"] = torch.zeros(7, 7)
    with pytest.raises(InputError, match="fit in"):
        read_model(save(tmp_path / "m.safetensors", GRU | tensors))


def test_dense_layers_of_a_run_are_refused(tmp_path: Path) -> None:
    small_run.start(tmp_path, layers=2, connect="dense")
    with pytest.raises(InputError, match="connect='dense' cannot be built"):
        read_model(tmp_path / "run")
