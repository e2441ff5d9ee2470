"""What a cell runs as: stages, LLVM text, machine code in memory, threads.

In: a cell. Out: compiled programs, and how their calls are laid out. Imports equations, gradients
and numpy; `jit.py` alone imports llvmlite. Needs no torch. tanh is in `functions`, the barrier in
`llvm_spelling`, what a reset does in `lengths_resets`; docs/architecture.md has the way through.
"""

from grus.kernels.argument_block import DENSE, Clear, Frame, Sizes, Variant
from grus.kernels.call import Kernel, Launcher, Source, kernel
from grus.kernels.layout import Layout, axis_sizes, layout, output_size, saved_size, with_masks
from grus.kernels.machine import DType, item_bytes
from grus.kernels.masks import LOW
from grus.kernels.memory import ALIGN, Array, address, give, lasting, take
from grus.kernels.plan import ONE, Plan, UnsupportedCellError, make_plan
from grus.kernels.several_calls import Part, together
from grus.kernels.split import ALONE, Split, Work, choose, pays, row_shares, wave_pays
from grus.kernels.steps import PLAIN, Narrow, Steps, part, windows
from grus.kernels.terms import Side, Term, Terms, add

# fmt: off
__all__ = [
    "ALIGN",
    "ALONE",
    "DENSE",
    "LOW",
    "ONE",
    "PLAIN",
    "Array",
    "Clear",
    "DType",
    "Frame",
    "Kernel",
    "Launcher",
    "Layout",
    "Narrow",
    "Part",
    "Plan",
    "Side",
    "Sizes",
    "Source",
    "Split",
    "Steps",
    "Term",
    "Terms",
    "UnsupportedCellError",
    "Variant",
    "Work",
    "add",
    "address",
    "axis_sizes",
    "backend",
    "choose",
    "give",
    "item_bytes",
    "kernel",
    "lasting",
    "layout",
    "make_plan",
    "output_size",
    "part",
    "pays",
    "row_shares",
    "saved_size",
    "take",
    "together",
    "wave_pays",
    "windows",
    "with_masks",
]
