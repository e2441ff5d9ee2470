"""Weight files of other frameworks, read and written without those frameworks.

In: a path. Out: `Contents`, tensors by name. A file is a stranger's: sizes are checked before
anything is allocated, nothing in it is executed, no path in it is followed out of its folder.
h5py and onnx are imported when a file of theirs is met.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grus.files import keras_config, npz
    from grus.files.formats import READERS, load, save, writer
    from grus.files.layers import (
        OPTIMIZER,
        Layer,
        Reading,
        ending,
        find_layers,
        only_reading,
        stacked,
    )

__all__ = [
    "OPTIMIZER", "READERS", "Layer", "Reading", "ending", "find_layers", "keras_config", "load",
    "npz", "only_reading", "save", "stacked", "writer",
]  # fmt: skip

# A name loads its own file alone: a trace needs npz, and none of the rest.
_PLACES = {
    "formats": "READERS load save writer",
    "layers": "OPTIMIZER Layer Reading ending find_layers only_reading stacked",
    "keras_config": "",
    "npz": "",
}


def __getattr__(name: str) -> Any:
    for file, names in _PLACES.items():
        if name == file:
            return import_module(f"grus.files.{file}")
        if name in names.split():
            return getattr(import_module(f"grus.files.{file}"), name)
    raise AttributeError(f"module 'grus.files' has no attribute {name!r}")
