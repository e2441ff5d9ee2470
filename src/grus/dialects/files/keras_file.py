"""Keras' files: .keras, .weights.h5 of Keras 3, and the .h5 of Keras 2 and before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grus.dialects.files import keras_config
from grus.dialects.files.archive import Archive
from grus.dialects.files.budget import Budget
from grus.dialects.files.contents import Contents
from grus.dialects.files.hdf5 import LINK
from grus.dialects.files.hdf5_process import Found, read as read_hdf5_file
from grus.errors import InputError

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
MAX_CONFIG = 64 * 2**20
LEGACY = "model_weights"


def read(path: Path) -> Contents:
    """The variables of a .keras archive, and what its configuration says of recurrent layers.

    Raises InputError.
    """
    budget = Budget.of(path)
    with Archive(path, budget, ".keras file") as archive:
        if archive.sizes.get(CONFIG, 0) > MAX_CONFIG:
            raise InputError(f"its {CONFIG} is larger than {MAX_CONFIG} bytes")
        layers = keras_config.recurrent(archive.read(CONFIG))
        weights = archive.read(WEIGHTS)
    return _contents("keras", read_hdf5_file(weights, budget), layers)


def read_hdf5(path: Path) -> Contents:
    """The variables of an .h5 file, with or without Keras' configuration. Raises InputError."""
    found = read_hdf5_file(path, Budget.of(path))
    config = found.texts.get("", {}).get("model_config")
    return _contents("h5", found, keras_config.recurrent(config) if config else {})


def _contents(format: str, found: Found, layers: dict[str, dict[str, Any]]) -> Contents:
    """Layers of the configuration are found by the names that the weights' groups keep."""
    described = {}
    for path, texts in found.texts.items():
        if path.endswith("/vars") and texts.get("name") in layers:
            described[path.removesuffix("/vars")] = layers[texts["name"]]
    for path in found.tensors:
        folders = path.split("/")[:-1]
        for k, name in enumerate(folders):
            if folders[0] == LEGACY and name in layers:
                described["/".join(folders[: k + 1])] = layers[name]
    metadata = {f"{at}/{k}".lstrip("/"): v for at, t in found.texts.items() for k, v in t.items()}
    metadata.pop("model_config", None)
    aside = tuple(n for n in found.aside if not n.endswith(LINK))
    links = {n.removesuffix(LINK): "it is a link" for n in found.aside if n.endswith(LINK)}
    return Contents(format, found.tensors, metadata, described, aside, links)
