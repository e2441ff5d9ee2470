"""How a cell changes: one derivative rule per line; the backward step is again equations.

In: a cell. Out: `Backward`, the equations of one step of backpropagation through time. Imports
equations only.
"""

from grus.gradients.adjoint import Backward, WeightGradient, backward, simplify

__all__ = ["Backward", "WeightGradient", "backward", "simplify"]
