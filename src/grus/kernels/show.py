"""What the kernels are made of, stage by stage, as text."""

from __future__ import annotations

from grus.equations import Cell
from grus.gradients import backward as derive
from grus.kernels import jit, threads
from grus.kernels.layout import layout
from grus.kernels.loops import Program
from grus.kernels.machine import MACHINES, DType, Target
from grus.kernels.plan import make_plan
from grus.kernels.program import cell_program
from grus.kernels.to_llvm import to_llvm


def plan_text(cell: Cell, *, backward: bool = False) -> str:
    """The stages of a step, forward or backward."""
    return str(make_plan(derive(cell).cell if backward else cell))


def loops(
    cell: Cell, dtype: DType = "float32", *, backward: bool = False, machine: str = ""
) -> Program:
    """A training call in the loop language, for this processor or for a machine of the table; as
    text it is what ``grus show`` prints."""
    target = Target(MACHINES[machine] if machine else jit.host(), dtype)
    kept = layout(cell)
    if backward:
        return cell_program(make_plan(kept.derived.cell), target, kept.adjoints, kept.sums)
    return cell_program(make_plan(cell), target, (cell.output, *kept.saved))


def llvm_text(
    cell: Cell, dtype: DType = "float32", *, backward: bool = False, machine: str = ""
) -> str:
    """The LLVM text of a training call."""
    program = loops(cell, dtype, backward=backward, machine=machine)
    printed_for = MACHINES[machine] if machine else jit.host()
    return to_llvm(program, printed_for, threads=bool(threads.openmp()))


def asm_text(cell: Cell, dtype: DType = "float32", *, backward: bool = False) -> str:
    """The assembly that this processor runs."""
    return jit.assembly(llvm_text(cell, dtype, backward=backward))
