"""`grus.onnx`: ONNX models with GRU, LSTM and RNN nodes. Needs the onnx package.

`load` runs such models; `save` writes networks and recurrent modules as such models.
"""

from grus.dialects.onnx import Model, Recurrent, load, save, to_model

__all__ = ["Model", "Recurrent", "load", "save", "to_model"]
