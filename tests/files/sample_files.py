"""Small valid weight files of every format, in bytes, and what stands in them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus.dialects.records import DIALECTS
from grus.files import json_file, npz, safetensors_file, torch_file
from grus.files.keras_write import KerasLayer, archive, weights

Array = np.ndarray


def need(name: str) -> Any:
    """The module, or a skip that names it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install 'grus[convert]'")


def tensors(inputs: int = 2, hidden: int = 3, dtype: str = "float32") -> dict[str, Array]:
    """One GRU layer as PyTorch names it, under a path, and a head."""
    rng = np.random.default_rng(0)
    shapes = {
        "rnn.weight_ih_l0": (3 * hidden, inputs), "rnn.weight_hh_l0": (3 * hidden, hidden),
        "rnn.bias_ih_l0": (3 * hidden,), "rnn.bias_hh_l0": (3 * hidden,),
        "head.weight": (1, hidden),
    }  # fmt: skip
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def onnx_model(given: Mapping[str, Array] | None = None) -> Any:
    """A model with one GRU node whose W, R and B are stored."""
    onnx = need("onnx")
    rng = np.random.default_rng(1)
    given = given or {
        "w": rng.normal(size=(1, 9, 2)).astype("f4"), "r": rng.normal(size=(1, 9, 3)).astype("f4"),
        "b": rng.normal(size=(1, 18)).astype("f4"),
    }  # fmt: skip
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(
        "GRU", ["x", "w", "r", "b"], ["y"], name="enc", hidden_size=3, linear_before_reset=1
    )
    stored = [onnx.numpy_helper.from_array(v, k) for k, v in given.items()]
    x = helper.make_tensor_value_info("x", kind, [None, None, 2])
    y = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph([node], "g", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def keras_layer() -> KerasLayer:
    rng = np.random.default_rng(2)
    shapes = [(2, 9), (3, 9), (2, 9)]
    parts = [rng.normal(size=shape).astype("f4") for shape in shapes]
    return KerasLayer("GRU", {"reset_after": True}, [parts])


def sample(suffix: str) -> bytes:
    """A small valid file of the format that ends so."""
    if suffix in (".h5", ".keras"):
        need("h5py")
    made = {
        ".safetensors": lambda: safetensors_file.content(tensors(), {"dialect": "torch"}),
        ".pt": lambda: torch_file.content(tensors()),
        ".npz": lambda: npz.content(tensors()),
        ".h5": lambda: weights([keras_layer()]),
        ".keras": lambda: archive([keras_layer()]),
        ".onnx": lambda: onnx_model().SerializeToString(),
        ".json": lambda: json_file.content(
            next(one for one in DIALECTS if one.name == "keras"), {}, [keras_layer()]
        ),
    }
    return made[suffix]()


SUFFIXES = (".safetensors", ".pt", ".npz", ".h5", ".keras", ".onnx")


def write(folder: Path, suffix: str, content: bytes) -> Path:
    """The content as a file of that ending."""
    path = folder / f"model{suffix}"
    path.write_bytes(content)
    return path


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive with these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    """The members of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def safetensors_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data
