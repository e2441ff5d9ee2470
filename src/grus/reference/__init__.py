"""The meaning of a cell: one evaluator over its equations, slow and readable.

In: a cell, weights by family, arrays. Out: values and states in float64. Imports equations and
numpy; the operators are a table, so other array libraries can stand in for NumPy.
"""

from grus.reference.evaluate import NUMPY, Operations, evaluate, split, step, step_values, table
from grus.reference.masks import draw, words
from grus.reference.recurrence import Sequence, advance, loop, run

__all__ = [
    "NUMPY", "Operations", "Sequence", "advance", "draw", "evaluate", "loop", "run", "split",
    "step", "step_values", "table", "words",
]  # fmt: skip
