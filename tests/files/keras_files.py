"""Keras' .h5 and .keras files with configurations written by hand, without Keras."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sample_files import need

Array = np.ndarray
INPUTS, H = 3, 4


def layer(kind: str, name: str = "", module: str | None = "keras.layers", **config: Any) -> Any:
    """A layer's entry in a configuration."""
    return {"module": module, "class_name": kind, "config": {"name": name or kind.lower()} | config}


def model(*layers: Any, name: str = "sequential") -> Any:
    """A Sequential of these layers."""
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def gru(
    seed: int = 0, inputs: int = INPUTS, gates: int = 3, bias: tuple[int, ...] = ()
) -> list[Array]:
    """Kernel, recurrent kernel and bias; of CuDNN's or other shapes by ``bias``."""
    rng = np.random.default_rng(seed)
    shapes = ((inputs, gates * H), (H, gates * H), bias or (2, gates * H))
    return [rng.normal(0, 0.7, size=shape).astype("f4") for shape in shapes]


def named(path: str, arrays: list[Array], names: str = "kernel recurrent_kernel bias") -> Any:
    """Arrays as they are called in a legacy file."""
    pairs = zip(names.split(), arrays, strict=True)
    return {f"{path}/{name}:0": array for name, array in pairs}


def numbered(path: str, arrays: list[Array]) -> dict[str, Array]:
    """Arrays as Keras 3 calls them."""
    return {f"{path}/vars/{k}": array for k, array in enumerate(arrays)}


def h5(tensors: Mapping[str, Array], config: Any = None, version: str = "") -> bytes:
    """An .h5 file: below model_weights where there is a configuration."""
    stream = io.BytesIO()
    with need("h5py").File(stream, "w") as file:
        if version:
            file.attrs["keras_version"] = version
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        for name, array in tensors.items():
            file[f"model_weights/{name}" if config is not None else name] = array
    return stream.getvalue()


def keras(tensors: Mapping[str, Array], config: Any, version: str = "3.15.1") -> bytes:
    """A .keras archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("metadata.json", json.dumps({"keras_version": version}))
        file.writestr("model.weights.h5", h5(tensors))
    return stream.getvalue()


def write(folder: Path, content: bytes, suffix: str) -> Path:
    """The content as a file of that ending."""
    path = folder / f"model{suffix}"
    path.write_bytes(content)
    return path
