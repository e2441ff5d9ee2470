"""Models for other machines: C, objects, WebAssembly, a page.

In: a torch module, a run, a weight file or an ONNX model. Out: a `Model`, cells one behind the
other with their weights in float32, and its files.
"""

from grus.builds.chain import Chain
from grus.builds.model import Layer, Model
from grus.builds.page_file import resource
from grus.builds.quantized import Quantized, quantized
from grus.builds.source import read_model
from grus.builds.targets import TARGETS, Built, build

__all__ = [
    "TARGETS",
    "Built",
    "Chain",
    "Layer",
    "Model",
    "Quantized",
    "build",
    "quantized",
    "read_model",
    "resource",
]
