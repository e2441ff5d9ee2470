"""What goes wrong where a GRU is computed: each mistake once, as something that can be run.

In: a cell, and a case for a whole GRU (`Case`) or a calculation by hand (`Calculation`). Out: the
numbers of somebody who makes the mistake, and the sentence that it is called by. The check kit,
``identify --mine`` and the worksheet's misreadings read the same records. Imports equations,
reference, gradients and dialects.
"""

from grus.mistakes.cell_changes import HARD, reset_of_all
from grus.mistakes.every_mistake import forward_mistakes, gradient_mistakes
from grus.mistakes.mistake import (
    BIAS_LEFT_OUT,
    Calculation,
    Mistake,
    misreadings,
    order_name,
    read_in_order,
    slips,
)
from grus.mistakes.right_answer import Answer, Array, Case, Weights, answer

__all__ = [
    "BIAS_LEFT_OUT", "HARD", "Answer", "Array", "Calculation", "Case", "Mistake", "Weights",
    "answer", "forward_mistakes", "gradient_mistakes", "misreadings", "order_name",
    "read_in_order", "reset_of_all", "slips",
]  # fmt: skip
