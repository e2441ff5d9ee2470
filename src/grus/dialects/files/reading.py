"""Reading a weight file of any known format, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from grus.dialects.files import json_file, keras_file, npz, onnx_file, safetensors_file, torch_file
from grus.dialects.files.contents import Contents
from grus.dialects.files.reparametrized import folded
from grus.errors import InputError

READERS: dict[str, Callable[[Path], Contents]] = {
    ".safetensors": safetensors_file.read,
    ".pt": torch_file.read,
    ".pth": torch_file.read,
    ".ckpt": torch_file.read,
    ".bin": torch_file.read,
    ".tar": torch_file.read,
    ".npz": npz.read,
    ".keras": keras_file.read,
    ".h5": keras_file.read_hdf5,
    ".hdf5": keras_file.read_hdf5,
    ".onnx": onnx_file.read,
    ".json": json_file.read,
}
"""Ending of a file's name -> its reader. Lightning writes .ckpt, Hugging Face .bin, others
.pth.tar: all of them torch.save's format."""


def load(path: Path | str) -> Contents:
    """The tensors of a weight file: .safetensors, .pt, .npz, .h5, .keras, .onnx or .json.

    Weights that torch keeps as parts (weight norm, spectral norm, pruning) are put together. The
    file may be anyone's: see the package's description for what is refused. .h5 and .keras
    need h5py, .onnx needs onnx.

    Raises InputError, beginning with the path, for a file that is not there, of an unknown
    ending, damaged, or more than weights.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: a weight file ends in one of {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path} not found, or no file")
    try:
        return folded(reader(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
