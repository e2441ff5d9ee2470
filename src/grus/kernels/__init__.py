"""What a cell runs as: stages, LLVM text, machine code in memory, threads.

In: a cell. Out: compiled programs, and how their calls are laid out. Imports equations, gradients
and numpy; `jit.py` alone imports llvmlite. Needs no torch. tanh is in `functions`, the barrier in
`llvm_spelling`, what a reset does in `lengths_resets`; docs/architecture.md has the way through.
"""

from grus.kernels import jit
from grus.kernels.argument_block import DENSE, Clear, Frame, Sizes, Variant
from grus.kernels.builder import Builder
from grus.kernels.call import Kernel, Launcher, Source, kernel
from grus.kernels.layout import Layout, axis_sizes, layout, output_size, saved_size, with_masks
from grus.kernels.loops import Function, Program, Value
from grus.kernels.machine import MACHINES, DType, Machine, item_bytes
from grus.kernels.masks import LOW
from grus.kernels.memory import ALIGN, Array, address, give, lasting, take
from grus.kernels.one_row import ITEM, LEVELS, RowStep
from grus.kernels.operations import check_calls
from grus.kernels.plan import ONE, Plan, UnsupportedCellError, make_plan
from grus.kernels.row_program import ScalarTarget, byte_products, products, row_function
from grus.kernels.several_calls import Part, together
from grus.kernels.split import ALONE, Split, Work, choose, pays, row_shares, wave_pays
from grus.kernels.steps import PLAIN, Narrow, Steps, part, windows
from grus.kernels.terms import Side, Term, Terms, add
from grus.kernels.to_c import c_number, to_c
from grus.kernels.to_llvm import to_llvm

# fmt: off
__all__ = [
    "ALIGN",
    "ALONE",
    "DENSE",
    "ITEM",
    "LEVELS",
    "LOW",
    "MACHINES",
    "ONE",
    "PLAIN",
    "Array",
    "Builder",
    "Clear",
    "DType",
    "Frame",
    "Function",
    "Kernel",
    "Launcher",
    "Layout",
    "Machine",
    "Narrow",
    "Part",
    "Plan",
    "Program",
    "RowStep",
    "ScalarTarget",
    "Side",
    "Sizes",
    "Source",
    "Split",
    "Steps",
    "Term",
    "Terms",
    "UnsupportedCellError",
    "Value",
    "Variant",
    "Work",
    "add",
    "address",
    "axis_sizes",
    "backend",
    "byte_products",
    "c_number",
    "check_calls",
    "choose",
    "give",
    "item_bytes",
    "jit",
    "kernel",
    "lasting",
    "layout",
    "make_plan",
    "output_size",
    "part",
    "pays",
    "products",
    "row_function",
    "row_shares",
    "saved_size",
    "take",
    "to_c",
    "to_llvm",
    "together",
    "wave_pays",
    "windows",
    "with_masks",
]
