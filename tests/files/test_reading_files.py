"""Every format gives back what was written, bit for bit."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sample_files import SUFFIXES, keras_layer, need, onnx_model, sample, tensors, write

from grus.errors import InputError
from grus.files import npz, safetensors_file, torch_file
from grus.files.formats import load
from grus.files.layers import find_layers

WRITERS = {
    ".safetensors": lambda t: safetensors_file.content(t, {"dialect": "torch"}),
    ".pt": torch_file.content,
    ".npz": npz.content,
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_plain_formats_give_back_every_bit(suffix: str, dtype: str, tmp_path: Path) -> None:
    given = tensors(dtype=dtype) | {"empty": np.zeros((0, 3), dtype), "one": np.ones((), dtype)}
    found = load(write(tmp_path, suffix, WRITERS[suffix](given))).tensors
    assert set(found) == set(given)
    for name, array in given.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_model_is_one_file_byte_for_byte(suffix: str) -> None:
    assert sample(suffix) == sample(suffix)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_keras_variables_stand_under_their_layers(suffix: str, tmp_path: Path) -> None:
    found = load(write(tmp_path, suffix, sample(suffix)))
    for number, array in enumerate(keras_layer().directions[0]):
        assert np.array_equal(found.tensors[f"layers/gru/cell/vars/{number}"], array)
    said = {"class_name": "GRU", "reset_after": True, "units": 3, "return_sequences": True}
    assert found.described == ({"layers/gru": said} if suffix == ".keras" else {})


def test_onnx_tensors_stand_under_their_node(tmp_path: Path) -> None:
    found = load(write(tmp_path, ".onnx", sample(".onnx")))
    assert {name: array.shape for name, array in found.tensors.items()} == {
        "enc/W": (1, 9, 2), "enc/R": (1, 9, 3), "enc/B": (1, 18)
    }  # fmt: skip
    said = {"class_name": "GRU", "hidden_size": 3, "linear_before_reset": 1}
    node = found.described["enc"]["node"]
    assert need("onnx").NodeProto.FromString(node).input == ["x", "w", "r", "b"]
    assert found.described == {"enc": said | {"node": node}}


@pytest.mark.parametrize("listed", [True, False], ids=["one by one", "raw"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_onnx_numbers_of_every_float_type(dtype: str, listed: bool, tmp_path: Path) -> None:
    onnx = need("onnx")
    kinds = {"float16": 10, "float32": 1, "float64": 11, "bfloat16": 16}
    values = [1.0, -2.5, 0.15625]
    model = onnx_model()
    made = onnx.helper.make_tensor("t", kinds[dtype], [3], values)
    if not listed:
        array = onnx.numpy_helper.to_array(made)
        made = onnx.helper.make_tensor("t", kinds[dtype], [3], array.tobytes(), raw=True)
    model.graph.initializer.append(made)
    path = write(tmp_path, ".onnx", model.SerializeToString())
    assert load(path).tensors["t"].tolist() == values


def test_onnx_numbers_beside_the_model_are_read(tmp_path: Path) -> None:
    onnx = need("onnx")
    path = tmp_path / "model.onnx"
    model = onnx_model()
    expected = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    onnx.save(model, path, save_as_external_data=True, location="data.bin", size_threshold=0)
    found = load(path).tensors
    for letter, array in zip("WRB", expected, strict=True):
        assert np.array_equal(found[f"enc/{letter}"], array)


def test_bfloat16_becomes_float32_exactly(tmp_path: Path) -> None:
    torch = need("torch")
    save = need("safetensors.torch").save
    given = torch.randn(50).to(torch.bfloat16)
    path = write(tmp_path, ".safetensors", save({"t": given}))
    assert np.array_equal(load(path).tensors["t"], given.float().numpy())
    torch.save({"t": given}, tmp_path / "model.pt")
    assert np.array_equal(load(tmp_path / "model.pt").tensors["t"], given.float().numpy())


@pytest.mark.torch
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_torch_saves_is_read_without_torch(protocol: int, tmp_path: Path) -> None:
    torch = need("torch")
    base = torch.arange(12.0).reshape(3, 4)
    saved = {
        "model": {"turned": base.T, "cut": base[1:, 1:3], "wide": torch.ones(1).expand(3, 2)},
        "epoch": 3,
        "list": [torch.tensor(2.0), torch.zeros(0, 3)],
        "parameter": torch.nn.Parameter(base),
        "whole": torch.arange(3).to(torch.uint16),
    }
    path = tmp_path / "model.pt"
    torch.save(saved, path, pickle_protocol=protocol)
    found = load(path)
    assert found.aside == ("epoch",)
    for name, tensor in saved["model"].items():
        assert np.array_equal(found.tensors[f"model.{name}"], tensor.numpy())
    assert found.tensors["list.0"] == 2
    assert found.tensors["list.1"].shape == (0, 3)
    assert np.array_equal(found.tensors["parameter"], base.numpy())
    assert found.tensors["whole"].tolist() == [0, 1, 2]


@pytest.mark.torch
@pytest.mark.parametrize("ending", [".pth.tar", ".ckpt", ".bin"])
def test_what_people_save_beside_weights_is_left_out(ending: str, tmp_path: Path) -> None:
    """As PyTorch's ImageNet example, Lightning and others write checkpoints."""
    torch = need("torch")
    layer = torch.nn.GRU(3, 4)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.zeros(2, 3))[0].sum().backward()
    optimizer.step()
    saved = {
        "state_dict": {f"gru.{name}": tensor for name, tensor in layer.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict(),
        "args": argparse.Namespace(hidden=4, folder=Path("a"), device=torch.device("cpu")),
        "best": np.float64(3), "vocabulary": {f"word {k}": k for k in range(30_000)},
        "seen": b"bytes", "mean": np.zeros(3),
    }  # fmt: skip
    path = tmp_path / f"model{ending}"
    torch.save(saved, path)
    found = load(path)
    (one,) = find_layers(found)
    assert (one.path, len(one.readings)) == ("state_dict.gru", 1)
    assert {"args", "best", "seen"} <= set(found.aside)
    assert list(found.unread) == ["mean"]
    saved["state_dict"]["gru.bias_hh_l0"] = np.zeros(12)
    torch.save(saved, path)
    (one,) = find_layers(load(path))
    assert "bias_hh_l0 is missing" in one.fault


def test_an_unknown_ending_and_an_absent_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.txt: a weight file ends in one of \.safetensors"):
        load(tmp_path / "model.txt")
    with pytest.raises(InputError, match="not found"):
        load(tmp_path / "model.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="not found, or no file"):
        load(tmp_path / "folder.npz")


@pytest.mark.parametrize(("package", "suffix"), [("h5py", ".h5"), ("onnx", ".onnx")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    package: str, suffix: str, tmp_path: Path
) -> None:
    """In a process whose imports of that package fail, as where it is not installed."""
    content = sample(suffix)
    blocker = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    code = (
        "from grus.files import hdf5\nfrom grus.onnx import model_proto\n"
        "from grus.errors import InputError\n"
        "try:\n"
        f"    {'hdf5' if package == 'h5py' else 'model_proto'}.library()\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocker + code], capture_output=True, text=True, check=True
    )
    assert f"needs {package}: pip install 'grus[convert]'" in done.stdout
    assert load(write(tmp_path, suffix, content)).tensors
