"""ONNX: models with GRU, LSTM and RNN nodes, run by this project; layers written as such models.

In: an ONNX file, arrays by name. Out: arrays by name. Needs the onnx package, imported late.
"""

from grus.dialects.onnx.export import save, to_model
from grus.dialects.onnx.model import Model, Recurrent, load
from grus.dialects.onnx.node import Node

__all__ = ["Model", "Node", "Recurrent", "load", "save", "to_model"]
