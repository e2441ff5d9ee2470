"""The one argument of a kernel: a block of 64-bit slots, found by name when code is printed.

Python fills the block with sizes, strides in bytes and addresses; the kernel copies it, so that
each thread can keep its own moving pointers in its copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grus.equations import Expr, Input, Name, State, Weight
from grus.kernels.plan import Plan
from grus.kernels.steps import Narrow

SIZES = ("T", "B", "H", "I", "tiles", "ld", "threads", "slices", "by_hidden")
BLOCKS = ("barrier", "packed", "chunk", "P", "P.row", "P.time", "P.slice", "sums", "sums.slice")
MOVING = ("cur", "nxt", "P.now", "sums.now", "gx", "gp", "nx", "np")
MOVED = ("end", "active", "clear", "mask.now")
"""Moving slots of some variants."""
DRAWN = ("seed.low", "seed.high", "mask.rows", "mask.first", "mask.sign")
"""Of a plan that draws masks: the seed; [batch] the caller's row and the time of the first step of
each row; 1 or -1, from step to step."""
PROJECTION = ("H.projection", "tiles.projection", "widest")
"""Of a plan with a second axis: its units, its vectors, and the vectors of the longer axis."""
STRIDED = ("", ".time", ".row")
RAGGED = ("", ".time", ".rows")
"""An array whose rows stand where a table of byte offsets says."""
TABLES = ("lengths", "starts", "active", "steps")
"""Of a ragged call: [batch] steps of each row; [slices + 1] its first row; [slices, time] rows
still under way; [time] offsets of the steps of x."""


Clear = Literal["", "zero", "copy", "collect"]


@dataclass(frozen=True, slots=True)
class Variant:
    """What a program does beside stepping all rows through all steps.

    ``ragged``: rows have lengths of their own and end one after the other. ``clear``: a flag for
    each step and row puts the states back after the step, to zero or to a copy of ``base``;
    "collect" puts them to zero and adds what it takes away to ``base``. ``narrow``: what is
    bfloat16 in products.
    """

    ragged: bool = False
    clear: Clear = ""
    narrow: Narrow = ""


DENSE = Variant()


class Slots:
    """Names of the slots of one program, in order."""

    def __init__(
        self, plan: Plan, stores: tuple[str, ...], hoists: bool, variant: Variant = DENSE
    ) -> None:
        names = [*SIZES, *BLOCKS]
        if len(plan.axes) > 1:
            names += PROJECTION
        self.widest = "widest" if len(plan.axes) > 1 else "tiles"
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
        if plan.masks:
            names += DRAWN
        for mask in plan.masks:
            names += [f"mask.{mask.name}", f"mask.{mask.name}.stream"]
        for weight in plan.cell.weights:
            names += [
                f"w.{weight.name}",
                f"w.{weight.name}.{'more' if vector(plan, weight) else 'row'}",
            ]
        names += [f"vector.{w.name}" for w in plan.cell.weights if vector(plan, w)]
        for k in range(len(groups(plan))):
            names += [f"panel.{k}", f"panel.{k}.tile"]
        self.variant = variant
        self.arrays = tuple(arrays)
        self.names = tuple(names)
        self.given = len(names)
        moving = [*MOVING, "end"] if variant.ragged else MOVING
        moving = [*moving, "mask.now"] if plan.masks else moving
        self.index = {name: k for k, name in enumerate([*names, *moving])}

    def __len__(self) -> int:
        return len(self.index)


def vector(plan: Plan, weight: Weight) -> bool:
    """True for a learned vector; it may come in two parts, ``more`` is the second's address."""
    return len(plan.cell.shapes.weights[weight]) == 1


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


def size_slot(axis: str) -> str:
    """The units of an axis."""
    return {"hidden": "H", "input": "I"}.get(axis, f"H.{axis}")


def tiles_slot(axis: str) -> str:
    """The vectors of an axis."""
    return "tiles" if axis == "hidden" else f"tiles.{axis}"


def operand_axis(plan: Plan, operand: Expr) -> str:
    """The axis that a product sums over."""
    shapes = plan.cell.shapes
    if isinstance(operand, State):
        return shapes.states[operand.name]
    if isinstance(operand, Name):
        return shapes.values[operand.name] or "hidden"
    return "input"


def group_axes(plan: Plan) -> list[str]:
    """The axis along which the accumulators of each k-loop lie."""
    first = [plan.hoisted_axis] if plan.hoisted else []
    return [*first, *(stage.axis for stage in plan.stages for _ in stage.groups)]


def operand_slot(operand: Expr) -> str:
    """Where the rows of a product's operand live."""
    if isinstance(operand, State):
        return f"state.{operand.name}"
    assert isinstance(operand, Name)
    return f"row.{operand.name}"
