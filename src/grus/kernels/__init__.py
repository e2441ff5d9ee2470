"""How a cell runs fast: stages, LLVM text, machine code in memory, threads.

In: a cell and NumPy arrays. Out: outputs, states, gradients. Imports equations, gradients and
numpy; `jit.py` alone imports llvmlite. Needs no torch.
"""

from grus.kernels.add import add
from grus.kernels.arguments import check, check_narrow, check_steps
from grus.kernels.layout import axis_sizes, layout, output_size, saved_size
from grus.kernels.passes import Gradients
from grus.kernels.plan import Plan, UnsupportedCellError, make_plan
from grus.kernels.run import Result, backward, forward, run
from grus.kernels.steps import Steps
from grus.kernels.values import values

__all__ = [
    "Gradients",
    "Plan",
    "Result",
    "Steps",
    "UnsupportedCellError",
    "add",
    "axis_sizes",
    "backward",
    "check",
    "check_narrow",
    "check_steps",
    "forward",
    "layout",
    "make_plan",
    "output_size",
    "run",
    "saved_size",
    "values",
]
