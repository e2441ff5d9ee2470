"""Reading a weight file of any known format, by the ending of its name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from grus.errors import InputError
from grus.files.reparametrized import folded
from grus.weight_file import Contents

READERS = {
    ".safetensors": "grus.files.safetensors_file:read",
    ".npz": "grus.files.npz:read",
    ".keras": "grus.files.keras_file:read",
    ".h5": "grus.files.keras_file:read_hdf5",
    ".hdf5": "grus.files.keras_file:read_hdf5",
    ".onnx": "grus.onnx.stored:read",
    ".json": "grus.files.json_file:read",
} | dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".tar"), "grus.files.torch_file:read")
"""Ending of a file's name -> its reader, loaded for a file of it. Lightning writes .ckpt,
Hugging Face .bin, others .pth.tar: all of them torch.save's format."""


def load(path: Path | str) -> Contents:
    """The tensors of a weight file: .safetensors, .pt, .npz, .h5, .keras, .onnx or .json.

    Weights that torch keeps as parts (weight norm, spectral norm, pruning) are put together. The
    file may be anyone's: see the package's description for what is refused. .h5 and .keras
    need h5py, .onnx needs onnx.

    Raises InputError, beginning with the path, for a file that is not there, of an unknown
    ending, damaged, or more than weights.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: a weight file ends in one of {', '.join(READERS)}")
    module, name = READERS[path.suffix.lower()].split(":")
    if not path.is_file():
        raise InputError(f"{path} not found, or no file")
    try:
        return folded(getattr(import_module(module), name)(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
