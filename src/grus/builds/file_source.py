"""A weight file as a chain of layers: recurrent ones of any dialect, linear ones between them."""

from __future__ import annotations

import json
from pathlib import Path

from grus.builds.keras_source import read_keras
from grus.builds.model import Model
from grus.builds.tensor_source import read_tensors
from grus.dialects.conversion import candidates
from grus.errors import InputError, needed_for
from grus.files import find_layers, load
from grus.weight_file import Contents

OPTION = "dialect"


def read_file(path: Path, dialect: str, logits: bool) -> Model:
    """The model that a file holds. Raises InputError, beginning with the path, for a file that
    cannot be read or built."""
    if path.suffix.lower() == ".onnx":
        from grus.builds.onnx_source import read_onnx

        return read_onnx(path, logits)
    contents = load(path)
    if _is_run(contents):
        with needed_for("building a run"):
            from grus.builds.run_source import read_run
        return read_run(path)
    try:
        recurrent = find_layers(contents, candidates(dialect) if dialect else None)
        if contents.configuration:
            return read_keras(contents, recurrent, OPTION, logits)
        return read_tensors(contents, recurrent, OPTION)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _is_run(contents: Contents) -> bool:
    """Whether the file is a checkpoint of `grus train`."""
    try:
        header = json.loads(contents.metadata.get("grus", "null"))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and header.get("format") == "grus language model"
