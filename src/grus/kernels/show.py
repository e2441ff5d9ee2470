"""What the kernels are made of, stage by stage, as text."""

from __future__ import annotations

from grus.equations import Cell
from grus.gradients import backward as derive
from grus.kernels import jit, loops as loops_language, threads
from grus.kernels.layout import layout
from grus.kernels.machine import MACHINES, DType, Target
from grus.kernels.plan import make_plan
from grus.kernels.program import Program
from grus.kernels.to_llvm import to_llvm


def plan_text(cell: Cell, *, backward: bool = False) -> str:
    """The stages of a step, forward or backward."""
    return str(make_plan(derive(cell).cell if backward else cell))


def program_of(cell: Cell, dtype: DType, *, backward: bool, machine: str) -> Program:
    """The program of a training call, for this processor or for a machine of the table."""
    target = Target(MACHINES[machine] if machine else jit.host(), dtype)
    kept = layout(cell)
    if backward:
        plan = make_plan(kept.derived.cell)
        return Program(plan, target, kept.adjoints, kept.sums)
    return Program(make_plan(cell), target, (cell.output, *kept.saved))


def loops(
    cell: Cell, dtype: DType = "float32", *, backward: bool = False, machine: str = ""
) -> loops_language.Program:
    """A training call in the loop language; as text it is what ``grus show`` prints."""
    return program_of(cell, dtype, backward=backward, machine=machine).loops()


def llvm_text(
    cell: Cell, dtype: DType = "float32", *, backward: bool = False, machine: str = ""
) -> str:
    """The LLVM text of a training call."""
    program = program_of(cell, dtype, backward=backward, machine=machine)
    return to_llvm(program.loops(), program.target.machine, threads=bool(threads.openmp()))


def asm_text(cell: Cell, dtype: DType = "float32", *, backward: bool = False) -> str:
    """The assembly that this processor runs."""
    return jit.assembly(llvm_text(cell, dtype, backward=backward))
