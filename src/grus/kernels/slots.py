"""The one argument of a kernel: a block of 64-bit slots, found by name when code is printed.

Python fills the block with sizes, strides in bytes and addresses; the kernel copies it, so that
each thread can keep its own moving pointers in its copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grus.equations import Expr, Input, Name, State, Weight
from grus.kernels.plan import Plan

SIZES = ("T", "B", "H", "I", "tiles", "ld", "threads", "slices", "by_hidden")
BLOCKS = ("barrier", "chunk", "P", "P.row", "P.time", "P.slice", "sums", "sums.slice")
MOVING = ("cur", "nxt", "P.now", "sums.now", "gx", "gp", "nx", "np")
MOVED = ("end", "active", "clear")
"""Moving slots of some variants."""
STRIDED = ("", ".time", ".row")
RAGGED = ("", ".time", ".rows")
"""An array whose rows stand where a table of byte offsets says."""
TABLES = ("lengths", "starts", "active", "steps")
"""Of a ragged call: [batch] steps of each row; [slices + 1] its first row; [slices, time] rows
still under way; [time] offsets of the steps of x."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What a program does beside stepping all rows through all steps.

    ``ragged``: rows have lengths of their own and end one after the other. ``clear``: a flag for
    each step and row puts the states back after the step, to zero or to a copy of ``base``;
    "collect" puts them to zero and adds what it takes away to ``base``.
    """

    ragged: bool = False
    clear: Literal["", "zero", "copy", "collect"] = ""


DENSE = Variant()


class Slots:
    """Names of the slots of one program, in order."""

    def __init__(
        self, plan: Plan, stores: tuple[str, ...], hoists: bool, variant: Variant = DENSE
    ) -> None:
        names = [*SIZES, *BLOCKS]
        states = plan.cell.states
        names += [
            f"{part}.{s}{end}" for s in states for part in ("h0", "hn") for end in ("", ".row")
        ]
        names += [f"state.{s}" for s in states]
        names += [f"row.{v}" for v in plan.rows]
        arrays = [f"in.{name}" for name in plan.step_inputs]
        arrays += [f"out.{name}" for name in stores]
        arrays += ["x"] if hoists else []
        ends = RAGGED if variant.ragged else STRIDED
        names += [f"{array}{end}" for array in arrays for end in ends]
        names += TABLES if variant.ragged else ()
        names += ["clear"] if variant.clear else []
        if variant.clear in ("copy", "collect"):
            names += [f"base.{s}{end}" for s in states for end in ("", ".row")]
        for weight in plan.cell.weights:
            names += [f"w.{weight.name}", f"w.{weight.name}.row"]
        for k in range(len(groups(plan))):
            names += [f"panel.{k}", f"panel.{k}.tile"]
        self.variant = variant
        self.arrays = tuple(arrays)
        self.names = tuple(names)
        self.given = len(names)
        moving = [*MOVING, "end"] if variant.ragged else MOVING
        self.index = {name: k for k, name in enumerate([*names, *moving])}

    def __len__(self) -> int:
        return len(self.index)


def groups(plan: Plan) -> list[tuple[Expr, tuple[tuple[int, Weight, bool], ...]]]:
    """Every k-loop of the plan: operand, and (chain, weight, transposed) of each member.

    The first entries are the hoisted ones, then stage by stage.
    """
    found: list[tuple[Expr, tuple[tuple[int, Weight, bool], ...]]] = []
    if plan.hoisted:
        members = [(k, w, False) for k, c in enumerate(plan.hoisted) for w in c.hoisted]
        found.append((Input("x"), tuple(members)))
    for stage in plan.stages:
        for group in stage.groups:
            entry = tuple((k, p.weight, p.transposed) for k, p in group.members)
            found.append((group.operand, entry))
    return found


def operand_slot(operand: Expr) -> str:
    """Where the rows of a product's operand live."""
    if isinstance(operand, State):
        return f"state.{operand.name}"
    assert isinstance(operand, Name)
    return f"row.{operand.name}"
