"""ONNX models with GRU, LSTM and RNN nodes: run, read and written. Needs the onnx package.

`load` runs such models; `save` writes networks and recurrent modules as such models. In: an ONNX
file, arrays by name. Out: arrays by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grus.onnx.export import save, to_model
    from grus.onnx.model import Model, Recurrent, load
    from grus.onnx.node import Node

__all__ = ["Model", "Node", "Recurrent", "load", "save", "to_model"]

# Loaded when first asked for: a file's reader needs a few of the room's files.
_PLACES = {"save": "export", "to_model": "export", "Node": "node"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"grus.onnx.{_PLACES.get(name, 'model')}"), name)
    raise AttributeError(f"module 'grus.onnx' has no attribute {name!r}")
