"""How others spell and store a recurrent network: one record per framework.

In: a cell and a framework's tensors. Out: a network in house form, and back. Imports equations,
reference and kernels; a framework only inside its own file, late.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grus.dialects.activation import (
        KINDS,
        USUAL,
        Activation,
        Activations,
        Factored,
        activated,
        factor,
    )
    from grus.dialects.conversion import Converted, convert
    from grus.dialects.dialect import Biases, Dialect
    from grus.dialects.equivalence import Counterexample, Equivalence, equivalent
    from grus.dialects.network import Network, Output, Unrepresentable
    from grus.dialects.records import DIALECTS, dialects, find
    from grus.dialects.torch_record import TorchRecord, current
    from grus.dialects.transform import sense
    from grus.dialects.unpacking import SECOND, Layout, Unpacked, unpack

__all__ = [
    "DIALECTS",
    "KINDS",
    "SECOND",
    "USUAL",
    "Activation",
    "Activations",
    "Biases",
    "Converted",
    "Counterexample",
    "Dialect",
    "Equivalence",
    "Factored",
    "Layout",
    "Network",
    "Output",
    "TorchRecord",
    "Unpacked",
    "Unrepresentable",
    "activated",
    "convert",
    "current",
    "dialects",
    "equivalent",
    "factor",
    "find",
    "sense",
    "unpack",
]

# A name loads its own file alone: a layer of PyTorch needs a record, and none of the rest.
_PLACES = {
    "activation": "KINDS USUAL Activation Activations Factored activated factor",
    "conversion": "Converted convert",
    "dialect": "Biases Dialect",
    "equivalence": "Counterexample Equivalence equivalent",
    "network": "Network Output Unrepresentable",
    "records": "DIALECTS dialects find",
    "transform": "sense",
    "torch_record": "TorchRecord current",
    "unpacking": "SECOND Layout Unpacked unpack",
}


def __getattr__(name: str) -> Any:
    for file, names in _PLACES.items():
        if name in names.split():
            return getattr(import_module(f"grus.dialects.{file}"), name)
    raise AttributeError(f"module 'grus.dialects' has no attribute {name!r}")
