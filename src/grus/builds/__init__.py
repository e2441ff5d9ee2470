"""What a build is made of: a torch module, a run, a weight file or an ONNX model as layers.

In: a source. Out: a `Model`: cells one behind the other, with their weights in float32.
"""

from grus.builds.chain import Chain
from grus.builds.model import Layer, Model
from grus.builds.page_file import resource
from grus.builds.source import read_model
from grus.builds.targets import Built, build

__all__ = ["Built", "Chain", "Layer", "Model", "build", "read_model", "resource"]
