"""The derivative of a cell: one rule per line; the backward step is equations again.

In: a cell. Out: `Backward`, the equations of one step of backpropagation through time. Imports
equations only.
"""

from grus.gradients.adjoint import Backward, WeightGradient, backward, simplify
from grus.gradients.cost import (
    ITEM_BYTES,
    LETTERS,
    Cost,
    Count,
    check_counts,
    cost,
    sizes_for,
    total,
)

__all__ = [
    "ITEM_BYTES", "LETTERS", "Backward", "Cost", "Count", "WeightGradient", "backward",
    "check_counts", "cost", "simplify", "sizes_for", "total",
]  # fmt: skip
