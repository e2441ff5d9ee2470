"""Compiled code over memory of any library: sequences and their gradients.

In: a cell, and arrays or tensors that lie in memory. Out: outputs, states, gradients, any values of
a step. Imports kernels, equations, gradients and numpy; needs no torch.
"""

from grus.runtime.arguments import check, check_narrow, check_steps, row
from grus.runtime.arrays import Gradients, Result, backward, forward, run, store
from grus.runtime.backward_calls import Adjoint, Backwards
from grus.runtime.buffer import Library
from grus.runtime.calls import Weights
from grus.runtime.forward_calls import Forward, Forwards, Laid
from grus.runtime.prepared import Known, Prepared
from grus.runtime.stepper import PackedLayers, has_rows
from grus.runtime.values import adjoints, equation, value_names, value_sizes, values

# fmt: off
__all__ = [
    "Adjoint", "Backwards", "Forward", "Forwards", "Gradients", "Known", "Laid", "Library",
    "PackedLayers", "Prepared", "Result", "Weights", "adjoints", "backward", "check",
    "check_narrow", "check_steps", "equation", "forward", "has_rows", "row", "run", "store",
    "value_names", "value_sizes", "values",
]
