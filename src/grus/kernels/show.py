"""What the kernels are made of, stage by stage, as text."""

from __future__ import annotations

from grus.equations import Cell, Expr, Input, Name, State, with_blocks
from grus.gradients import backward as derive
from grus.kernels import jit, threads
from grus.kernels.layout import layout
from grus.kernels.loops import Program
from grus.kernels.machine import MACHINES, DType, Target
from grus.kernels.plan import Plan, make_plan
from grus.kernels.program import cell_program
from grus.kernels.to_llvm import to_llvm


def plan_text(cell: Cell, *, backward: bool = False) -> str:
    """The stages of a step, forward or backward."""
    return _written(make_plan(derive(cell).cell if backward else cell))


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


def _written(plan: Plan) -> str:
    """What is hoisted, then each stage's products and equations."""
    lines = [f"plan of {plan.cell.name}"]
    if plan.hoisted:
        lines.append("  before the time loop, in chunks of steps:")
        for chain in plan.hoisted:
            terms = [w.name for w in chain.biases]
            terms += [
                f"{p.weight.name} @ {with_blocks(p.operand, p.blocks)}" for p in chain.hoisted
            ]
            lines.append(f"    {chain.name} = {' + '.join(terms)}")
    names = {c.name for c in plan.hoisted}
    for k, stage in enumerate(plan.stages):
        over = "" if plan.axes == ("hidden",) else f" over {stage.axis}"
        lines.append(f"  stage {k}{over}, each step:")
        for group in stage.groups:
            members = ", ".join(
                f"{stage.chains[at].name} += {p.weight.name}{'.T' if p.transposed else ''}"
                for at, p in group.members
            )
            every = "for k" if group.blocks == 1 else f"for k of the unit's block of {group.blocks}"
            lines.append(f"    {every}: {_operand_text(group.operand)}[k] * [{members}]")
        for chain in stage.chains:
            biases = " + ".join(w.name for w in chain.biases)
            start = "hoisted" if chain.name in names else biases or "0"
            lines.append(f"    {chain.name} starts at {start}")
        lines += [f"    {name} = {expr}" for name, expr in stage.equations]
    lines.append(f"  row buffers: {', '.join(plan.rows) or 'none'}")
    return "\n".join(lines)


def _operand_text(operand: Expr) -> str:
    return operand.name if isinstance(operand, (Name, State, Input)) else str(operand)
