"""The one argument of a kernel: a block of 64-bit slots, found by name when code is printed.

Python fills the block with sizes, strides in bytes and addresses; the kernel copies it, so that
each thread can keep its own moving pointers in its copy. A `Frame` is the memory that a call works
in, laid out once for each combination of sizes: the barrier's counters, the sums, the chunk of
hoisted products, state and row buffers, and the panels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grus.equations import Expr, Input, Name, State, Weight
from grus.kernels.machine import Target
from grus.kernels.memory import ALIGN
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
            second = "more" if vector(plan, weight) else "row"
            names += [f"w.{weight.name}", f"w.{weight.name}.{second}"]
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


Sizes = tuple[int, int, int, int, int]
"""T, B, I, H and the projection, 0 where there is none."""


@dataclass(frozen=True)
class Frame:
    """Constants and offsets by slot name; ``bytes`` of memory, of which the first ``zeroed`` must
    be 0; the sums stand at ``sums`` as [slice, name, padded hidden]."""

    constants: dict[str, int]
    offsets: dict[str, int]
    bytes: int
    zeroed: int
    sums: int
    shape: tuple[int, int, int]


def lay_out(
    plan: Plan,
    target: Target,
    names: int,
    sizes: Sizes,
    split: tuple[int, bool],
    ahead: int,
) -> Frame:
    """The frame of a call; ``sizes`` go by the plan's own axes, ``names`` is how many values are
    summed, ``split`` is (threads, by hidden units), ``ahead`` the bytes of products with x that are
    computed ahead of the time loop."""
    steps, batch, *_ = sizes
    size = dict(zip(("input", "hidden", "projection"), sizes[2:], strict=True))
    threads, by_hidden = split
    slices = 1 if by_hidden else threads
    tiles = {axis: -(-size[axis] // target.lanes) for axis in plan.axes}
    widest = max(tiles.values())
    padded = widest * target.lanes
    # One cache line more than the row, so that rows do not fall into the same cache sets.
    ld = padded * target.item + ALIGN
    rows = -(-batch // slices)
    row = len(plan.hoisted) * padded * target.item
    chunk = _chunk(steps, rows, rows * row, ahead)
    sums = names * padded * target.item
    panels, wide = [], target.machine.vector_bytes
    for (operand, members), axis in zip(groups(plan), group_axes(plan), strict=True):
        depth = -(-size[operand_axis(plan, operand)] // target.lanes) * target.lanes
        # Two numbers of bfloat16 stand where one of float32 would.
        depth //= 2 if target.narrow else 1
        panels.append((depth * len(members) * wide, tiles[axis]))
    buffers = {"barrier": 2 * ALIGN, "sums": slices * sums, "P": chunk * rows * row * slices}
    own = [*(f"state.{s}" for s in plan.cell.states), *(f"row.{v}" for v in plan.rows)]
    buffers |= dict.fromkeys(own, 2 * batch * ld)
    buffers |= {f"mask.{mask.name}": batch * ld for mask in plan.masks}
    buffers |= {f"panel.{k}": tile * count for k, (tile, count) in enumerate(panels)}
    for weight in plan.cell.weights:
        if vector(plan, weight):
            buffers[f"vector.{weight.name}"] = wide * tiles[plan.cell.shapes.weights[weight][0]]
    offsets, total = {}, 0
    for name, length in buffers.items():
        offsets[name] = total
        total += -(-length // ALIGN) * ALIGN
    constants = {
        "T": steps, "B": batch, "H": size["hidden"], "I": size["input"], "ld": ld,
        "threads": threads, "slices": slices, "by_hidden": int(by_hidden), "chunk": chunk,
        "sums.slice": sums, "P.row": row, "P.time": rows * row, "P.slice": chunk * rows * row,
    }  # fmt: skip
    constants |= {tiles_slot(axis): count for axis, count in tiles.items()}
    constants |= {"H.projection": size["projection"], "widest": widest}
    constants |= {f"panel.{k}.tile": tile for k, (tile, _) in enumerate(panels)}
    shape = (slices, names, padded)
    return Frame(constants, offsets, total, offsets["P"], offsets["sums"], shape)


def _chunk(steps: int, rows: int, step_bytes: int, ahead: int) -> int:
    """Steps whose hoisted products stay in the cache; enough of them to fill row tiles."""
    if not step_bytes:
        return max(steps, 1)
    fits = max(1, ahead // step_bytes)
    return min(max(steps, 1), fits if rows >= 8 else max(fits, 8))
