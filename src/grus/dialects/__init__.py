"""How others spell and store a recurrent network: one record per framework.

In: a cell and a framework's tensors. Out: a network in house form, and back. Imports equations,
reference and kernels; a framework only inside its own file, late.
"""

from grus.dialects.activation import KINDS, Activation, Activations, activated, factor
from grus.dialects.conversion import Converted, convert
from grus.dialects.dialect import Biases, Dialect
from grus.dialects.equivalence import Counterexample, Equivalence, equivalent
from grus.dialects.layout import SECOND, Layout
from grus.dialects.network import Network, Output, Unrepresentable
from grus.dialects.records import DIALECTS, dialects, find
from grus.dialects.sense import sense
from grus.dialects.torch_record import TorchRecord
from grus.dialects.unpack import Unpacked, unpack

__all__ = [
    "DIALECTS",
    "KINDS",
    "SECOND",
    "Activation",
    "Activations",
    "Biases",
    "Converted",
    "Counterexample",
    "Dialect",
    "Equivalence",
    "Layout",
    "Network",
    "Output",
    "TorchRecord",
    "Unpacked",
    "Unrepresentable",
    "activated",
    "convert",
    "dialects",
    "equivalent",
    "factor",
    "find",
    "sense",
    "unpack",
]
