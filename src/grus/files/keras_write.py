"""Files that Keras 3 loads, written without Keras: .weights.h5 and .keras."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grus.files.hdf5 import library
from grus.files.keras_config import snake, unique
from grus.files.keras_file import CONFIG, WEIGHTS
from grus.weight_file import Array

VERSION = "3.0.0"
"""The version of Keras' format that is written; later ones read it."""


@dataclass(frozen=True)
class KerasLayer:
    """One recurrent layer: its class, its settings, and the variables of each direction in
    Keras' order (kernel, recurrent_kernel, bias). Two directions make it a Bidirectional."""

    class_name: str
    settings: Mapping[str, Any]
    directions: Sequence[Sequence[Array]]

    @property
    def outer(self) -> str:
        """The class of the layer as the model holds it."""
        return "Bidirectional" if len(self.directions) == 2 else self.class_name


def weights(layers: Sequence[KerasLayer]) -> bytes:
    """The bytes of a .weights.h5 file, for a model of these layers one after another."""
    stream = io.BytesIO()
    with library().File(stream, "w") as file:
        file.create_group("vars").attrs["name"] = "sequential"
        for name, layer in zip(_names(layers), layers, strict=True):
            group = file.create_group(f"layers/{name}")
            if len(layer.directions) == 2:
                group.create_group("vars").attrs["name"] = name
                for side, variables in zip(("forward", "backward"), layer.directions, strict=True):
                    inner = group.create_group(f"{side}_layer")
                    _put(inner, f"{side}_{snake(layer.class_name)}", layer, variables)
            else:
                _put(group, name, layer, layer.directions[0])
    return stream.getvalue()


def _put(group: Any, name: str, layer: KerasLayer, variables: Sequence[Array]) -> None:
    group.create_group("vars").attrs["name"] = name
    inner = group.create_group("cell/vars")
    inner.attrs["name"] = f"{snake(layer.class_name)}_cell"
    for number, variable in enumerate(variables):
        inner.create_dataset(str(number), data=variable)


def archive(layers: Sequence[KerasLayer]) -> bytes:
    """The bytes of a .keras file: a Sequential of these layers, each giving every step."""
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "trainable": True, "layers": list(_configs(layers))},
        "registered_name": None,
    }
    members = {
        "metadata.json": json.dumps({"keras_version": VERSION}).encode(),
        CONFIG: json.dumps(config).encode(),
        WEIGHTS: weights(layers),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


def _configs(layers: Sequence[KerasLayer]) -> Iterator[dict[str, Any]]:
    kernel = layers[0].directions[0][0]
    shape = [None, None, int(kernel.shape[0])]
    dtype = str(kernel.dtype)
    yield _config("InputLayer", {"name": "input_layer", "batch_shape": shape, "dtype": dtype})
    for name, layer in zip(_names(layers), layers, strict=True):
        plain = {
            "trainable": True,
            "dtype": dtype,
            "units": int(layer.directions[0][1].shape[0]),
            "return_sequences": True,
            **layer.settings,
        }
        if len(layer.directions) == 1:
            yield _config(layer.class_name, {"name": name, **plain})
            continue
        parts = {}
        for key, side in (("layer", "forward"), ("backward_layer", "backward")):
            back = {"go_backwards": side == "backward"}
            inner = {"name": f"{side}_{snake(layer.class_name)}", **plain, **back}
            parts[key] = _config(layer.class_name, inner)
        yield _config("Bidirectional", {"name": name, "merge_mode": "concat", **parts})


def _config(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    found = {"module": "keras.layers", "class_name": kind, "config": config}
    return found | {"registered_name": None}


def _names(layers: Sequence[KerasLayer]) -> Iterator[str]:
    """Keras' names for layers without a name."""
    return unique([layer.outer for layer in layers])
