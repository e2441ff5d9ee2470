"""ONNX models whose numbers lie elsewhere, or are not what they say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from refusal import read_in_child, refused
from sample_files import need, onnx_model, write

from grus.files.formats import load
from grus.onnx.stored import RUNS

onnx = need("onnx")
MIB = 2**20
SECRET = "root:x:0:0 and more text than one needs"


def moved(location: str, **more: str) -> bytes:
    """The model with the numbers of one tensor, 4 floats, said to be in another file."""
    model = onnx_model()
    tensor = onnx.helper.make_tensor("t", onnx.TensorProto.FLOAT, [4], [0.0] * 4)
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in ({"location": location} | more).items():
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    return model.SerializeToString()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with data in it, and with a secret beside it."""
    (tmp_path / "secret.txt").write_text(SECRET)
    inside = tmp_path / "models"
    (inside / "deep").mkdir(parents=True)
    (inside / "data.bin").write_bytes(bytes(20))
    (inside / "deep" / "data.bin").write_bytes(bytes(20))
    return inside


@pytest.mark.parametrize("location", ["data.bin", "deep/data.bin", "./data.bin"])
def test_data_in_the_folder_is_read(location: str, folder: Path) -> None:
    for more in ({}, {"offset": "4", "length": "16"}):
        found = load(write(folder, ".onnx", moved(location, **more)))
        assert found.tensors["t"].tolist() == [0] * 4


OUTSIDE = (
    "../secret.txt", "deep/../../secret.txt", "..\\secret.txt", "/etc/passwd", "\\secret.txt",
    "C:\\secret.txt", "C:secret.txt", "//host/share/secret", "..", ".", "", "a\0b", "data.bin\n",
    "deep/..",
)  # fmt: skip


@pytest.mark.parametrize("location", OUTSIDE)
def test_data_outside_the_folder_is_refused(location: str, folder: Path) -> None:
    assert "not inside the model's folder" in refused(write(folder, ".onnx", moved(location)))


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and pipes of POSIX")
def test_links_folders_and_pipes_are_refused(folder: Path) -> None:
    (folder / "link.bin").symlink_to(folder.parent / "secret.txt")
    (folder / "near.bin").symlink_to(folder / "data.bin")
    (folder / "out").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.bin")
    for location, told in (
        ("link.bin", "is a link"), ("near.bin", "is a link"), ("out/secret.txt", "is a link"),
        ("deep", "no plain file"), ("pipe.bin", "no plain file"), ("absent.bin", "no data file"),
        ("data.bin/data.bin", "no data file"),
    ):  # fmt: skip
        assert told in refused(write(folder, ".onnx", moved(location)))


@pytest.mark.parametrize(
    "more",
    [{"offset": "8"}, {"offset": "-4"}, {"offset": "9" * 30}, {"length": "12"}, {"length": "-1"},
     {"length": str(2**63)}, {"offset": "4.0"}, {"offset": "0x4"}, {"offset": "٤"},
     {"offset": str(2**63)}],
)  # fmt: skip
def test_bytes_that_the_data_file_does_not_have_are_refused(
    more: dict[str, str], folder: Path
) -> None:
    refused(write(folder, ".onnx", moved("data.bin", **more)))


def tensor(dims: list[int], kind: int = 1, **fields: Any) -> Any:
    made = onnx.TensorProto(name="t", data_type=kind, **fields)
    made.dims.extend(dims)
    return made


TENSORS = {
    "a shape of eight exabytes": tensor([2**60], raw_data=bytes(16)),
    "a shape that overflows": tensor([2**32, 2**32], raw_data=bytes(16)),
    "a shape that overflows to fit": tensor([2**62 + 1, 4], raw_data=bytes(16)),
    "a negative shape": tensor([-4], raw_data=bytes(16)),
    "negatives that multiply to fit": tensor([-2, -2], raw_data=bytes(16)),
    "more numbers than bytes": tensor([5], raw_data=bytes(16)),
    "fewer numbers than bytes": tensor([3], raw_data=bytes(16)),
    "no numbers": tensor([3]),
    "numbers of another field": tensor([1], double_data=[1.0]),
    "half floats out of range": tensor([1], 10, int32_data=[70000]),
    "bytes out of range": tensor([1], 3, int32_data=[300]),
    "a segment": tensor([4], raw_data=bytes(16), segment=onnx.TensorProto.Segment(begin=0, end=1)),
    "forty axes": tensor([1] * 40, raw_data=bytes(4)),
    "a gigabyte of nothing": tensor([2**28]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_that_is_not_what_it_says_is_refused(name: str, tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.initializer.append(TENSORS[name])
    refused(write(tmp_path, ".onnx", model.SerializeToString()))


def test_tensors_that_are_not_what_they_say_take_little_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.onnx" for k in range(len(TENSORS))]
    for path, tensor in zip(paths, TENSORS.values(), strict=True):
        model = onnx_model()
        model.graph.initializer.append(tensor)
        path.write_bytes(model.SerializeToString())
    assert read_in_child(*paths).grown < 32 * MIB


@pytest.mark.parametrize("name", ["w", "enc/W", "enc/W\n"])
def test_a_tensor_that_takes_the_name_of_another_is_refused(name: str, tmp_path: Path) -> None:
    """What a node's weights are called here must not be taken by another tensor."""
    model = onnx_model()
    other = onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [1, 9, 2], [0.0] * 18)
    model.graph.initializer.append(other)
    assert "two tensors" in refused(write(tmp_path, ".onnx", model.SerializeToString()))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    assert "no graph" in refused(write(tmp_path, ".onnx", onnx.ModelProto().SerializeToString()))


def test_what_is_not_read_is_set_aside_and_said(tmp_path: Path) -> None:
    model = onnx_model()
    text = onnx.helper.make_tensor("text", onnx.TensorProto.STRING, [1], [b"x"])
    model.graph.initializer.append(text)
    model.graph.node[0].input[1] = "computed"
    model.graph.node[0].name = "\x1b[31mnode\n"
    found = load(write(tmp_path, ".onnx", model.SerializeToString()))
    assert found.aside == ("text (no numbers)",)
    assert found.unread == {"[31mnode/W": f"it is computed when the model runs, {RUNS}"}
