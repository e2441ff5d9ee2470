"""Keras' files: .keras, .weights.h5 of Keras 3, and the .h5 of Keras 2 and before."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from grus.errors import InputError
from grus.files import keras_config
from grus.files.archive import Archive
from grus.files.description import spellings
from grus.files.hdf5 import LINK, Hdf5Data, read as read_hdf5_file
from grus.files.keras_config import CONFIGURED, ERA, Leaf
from grus.weight_file import Budget, Contents

WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"
MAX_CONFIG = 64 * 2**20
LEGACY = "model_weights/"
SIDES = ("/forward_layer", "/backward_layer")
NEW = re.compile(r"(?:^|/)vars/\d+$")
"""How variables are called in the format of Keras 3, which tf.keras writes from 2.12 on."""


def read(path: Path) -> Contents:
    """The variables of a .keras archive, and what its configuration says of recurrent layers.

    Raises InputError.
    """
    budget = Budget.of(path)
    with Archive(path, budget, ".keras file") as archive:
        for name in (CONFIG, METADATA):
            if archive.sizes.get(name, 0) > MAX_CONFIG:
                raise InputError(f"its {name} is larger than {MAX_CONFIG} bytes")
        config = archive.read(CONFIG)
        version = _version(archive.read(METADATA)) if METADATA in archive.sizes else ""
        weights = archive.read(WEIGHTS)
    return _contents("keras", read_hdf5_file(weights, budget), config, version)


def read_hdf5(path: Path) -> Contents:
    """The variables of an .h5 file, with or without Keras' configuration. Raises InputError."""
    found = read_hdf5_file(path, Budget.of(path))
    root = found.texts.get("", {})
    version = root.get("keras_version", "")
    return _contents("h5", found, root.get("model_config"), version)


def _version(text: bytes) -> str:
    try:
        return str(json.loads(text)["keras_version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _contents(format: str, found: Hdf5Data, config: str | bytes | None, version: str) -> Contents:
    metadata = {f"{at}/{k}".lstrip("/"): v for at, t in found.texts.items() for k, v in t.items()}
    metadata.pop("model_config", None)
    aside = tuple(n for n in found.aside if not n.endswith(LINK))
    links = {n.removesuffix(LINK): "it is a link" for n in found.aside if n.endswith(LINK)}
    known = keras_config.era(version) or ("3" if _is_new(found) and not version else "")
    metadata[ERA] = known
    if config is None:
        return Contents(format, found.tensors, metadata, {}, aside, links)
    tree = keras_config.tree(config)
    metadata[CONFIGURED] = version or "an unknown version"
    leaves = _places(found, tree.leaves)
    described = {path: leaf.settings for path, leaf in leaves.items()}
    for path, leaf in leaves.items():
        outer = path.rpartition("/")[0]
        if path.endswith(SIDES):
            joined = tree.merged[leaf.path.rpartition("/")[0]]
            described[outer] = {"class_name": "Bidirectional", "merge_mode": joined}
    text = config if isinstance(config, str) else config.decode("utf-8", "replace")
    return Contents(format, found.tensors, metadata, described, aside, links, configuration=text)


def _is_new(found: Hdf5Data) -> bool:
    return any(NEW.search(name) for name in found.tensors)


def _places(found: Hdf5Data, leaves: Sequence[Leaf]) -> dict[str, Leaf]:
    """Path of a layer's weights -> what the configuration says of it.

    Where a file has both, the name that the weights' group keeps must be the layer's own.
    """
    words = (word.rpartition("/") for word in spellings(found.tensors))
    folders = {path for path, _, own in words if own.startswith(("recurrent_kernel", "U_"))}
    if not _is_new(found):
        own = [path for path in folders if path.startswith(LEGACY)]
        return keras_config.legacy(leaves, own, LEGACY)
    known = {}
    for leaf in leaves:
        kept = found.texts.get(f"{leaf.path}/vars", {}).get("name")
        if leaf.path in folders and kept in (None, *leaf.names[-2:]):
            known[leaf.path] = leaf
    return known
