"""How others spell and store a recurrent network: one record per framework.

In: a cell and a framework's tensors. Out: weights by family. Imports equations, reference and
kernels; a framework only inside its own file, late.
"""

from grus.dialects.layout import SECOND, Layout
from grus.dialects.spelling import SPELLINGS, Spelling, find_spelling, sense, spellings
from grus.dialects.torch_record import TorchRecord
from grus.dialects.unpack import Unpacked, unpack

__all__ = [
    "SECOND",
    "SPELLINGS",
    "Layout",
    "Spelling",
    "TorchRecord",
    "Unpacked",
    "find_spelling",
    "sense",
    "spellings",
    "unpack",
]
