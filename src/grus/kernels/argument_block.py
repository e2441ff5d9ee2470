"""The one argument of a kernel: a block of 64-bit slots, found by name when code is printed.

Python fills the block with sizes, strides in bytes and addresses; the kernel copies it, so that
each thread can keep its own moving pointers in its copy. A `Frame` is the memory that a call works
in, laid out once for each combination of sizes: the barrier's counters, the sums, the chunk of
hoisted products, state and row buffers, and the panels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from grus.equations import Expr, Input, Name, State, columns
from grus.kernels.machine import Target
from grus.kernels.memory import ALIGN
from grus.kernels.plan import Plan
from grus.kernels.steps import Narrow

X = Input("x")
SIZES = ("T", "B", "H", "I", "tiles", "ld", "threads", "slices", "by_hidden")
BLOCKS = ("barrier", "packed", "chunk", "P", "P.row", "P.time", "P.slice", "sums", "sums.slice")
MOVING = ("cur", "nxt", "P.now", "sums.now", "gx", "gp", "nx", "np")
MOVED = ("end", "active", "clear", "mask.now")
"""Moving slots of some variants."""
DRAWN = ("seed.low", "seed.high", "mask.rows", "mask.first", "mask.sign")
"""Of a plan that draws masks: the seed; [batch] the caller's row and the time of the first step of
each row; 1 or -1, from step to step."""
ROW = ("", ".row")
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
    """Names of the slots of a block, in order: those that the caller fills, then those that each
    thread moves in its copy."""

    def __init__(self, names: Sequence[str], moving: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.index = {name: k for k, name in enumerate((*names, *moving))}

    def __len__(self) -> int:
        return len(self.index)


class CellSlots(Slots):
    """The slots of a cell's program that writes out ``stores`` at each step."""

    def __init__(self, plan: Plan, stores: tuple[str, ...], variant: Variant = DENSE) -> None:
        self.variant, states = variant, plan.cell.states
        self.widest = "widest" if len(plan.axes) > 1 else "tiles"
        arrays = [*(f"in.{name}" for name in plan.step_inputs), *(f"out.{name}" for name in stores)]
        self.arrays = (*arrays, "x") if plan.hoisted else tuple(arrays)
        names = [*SIZES, *BLOCKS, *map(size_slot, plan.sized)]
        # Of a plan with several axes: their vectors, and those of the longest.
        names += [tiles_slot(axis) for axis in plan.axes if axis != "hidden"]
        names += ["widest"] * (len(plan.axes) > 1)
        names += [further_slot(loop.operand) for loop in plan.hoisted_loops if loop.operand != X]
        names += [f"{part}.{s}{end}" for s in states for part in ("h0", "hn") for end in ROW]
        names += [f"state.{s}" for s in states]
        names += [f"row.{v}" for v in plan.rows]
        ends = RAGGED if variant.ragged else STRIDED
        names += [f"{array}{end}" for array in self.arrays for end in ends]
        names += TABLES if variant.ragged else ()
        names += ["clear"] if variant.clear else []
        if variant.clear in ("copy", "collect"):
            names += [f"base.{s}{end}" for s in states for end in ROW]
        names += DRAWN if plan.masks else ()
        names += [f"mask.{mask.name}{end}" for mask in plan.masks for end in ("", ".stream")]
        for weight in plan.cell.weights:
            second = "more" if weight in plan.vectors else "row"
            names += [f"w.{weight.name}", f"w.{weight.name}.{second}"]
        names += [f"vector.{w.name}" for w in plan.vectors]
        names += [f"panel.{k}{end}" for k in range(len(plan.k_loops)) for end in ("", ".tile")]
        moving = [*MOVING, *(["end"] if variant.ragged else []), *(["mask.now"] * bool(plan.masks))]
        super().__init__(names, moving)


def size_slot(axis: str) -> str:
    """The units of an axis."""
    return {"hidden": "H", "input": "I"}.get(axis, f"H.{axis}")


def tiles_slot(axis: str) -> str:
    """The vectors of an axis."""
    return "tiles" if axis == "hidden" else f"tiles.{axis}"


def further_slot(operand: Expr) -> str:
    """How many bytes behind x a further input stands."""
    assert isinstance(operand, Input)
    return f"x.{operand.name}"


def operand_slot(operand: Expr) -> str:
    """Where the rows of a product's operand live."""
    assert isinstance(operand, (State, Name))
    return f"{'state' if isinstance(operand, State) else 'row'}.{operand.name}"


class Sizes(NamedTuple):
    """Of a call."""

    steps: int
    batch: int
    axes: tuple[tuple[str, int], ...]
    """(axis, size)."""

    @staticmethod
    def of(lead: Sequence[int], axes: Mapping[str, int]) -> Sizes:
        """From (time, batch) and the size of each axis."""
        time, batch = lead
        return Sizes(time, batch, tuple(axes.items()))


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
    steps, batch, axes = sizes
    size = dict(axes)
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
    for loop in plan.k_loops:
        depth = -(-size[loop.depth] // loop.blocks // target.lanes) * target.lanes
        # Two numbers of bfloat16 stand where one of float32 would.
        depth //= 2 if target.narrow else 1
        panels.append((depth * len(loop.members) * wide, tiles[loop.axis]))
    buffers = {"barrier": 2 * ALIGN, "sums": slices * sums, "P": chunk * rows * row * slices}
    per_row = [*(f"state.{s}" for s in plan.cell.states), *(f"row.{v}" for v in plan.rows)]
    buffers |= dict.fromkeys(per_row, 2 * batch * ld)
    buffers |= {f"mask.{mask.name}": batch * ld for mask in plan.masks}
    buffers |= {f"panel.{k}": tile * count for k, (tile, count) in enumerate(panels)}
    buffers |= {f"vector.{w.name}": wide * tiles[plan.axis_of(w)] for w in plan.vectors}
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
    constants |= {size_slot(axis): size[axis] for axis in plan.sized} | {"widest": widest}
    if any(loop.operand != X for loop in plan.hoisted_loops):
        places = columns(plan.cell, size)
        constants |= {f"x.{name}": first * target.item for name, (first, _) in places.items()}
    constants |= {f"panel.{k}.tile": tile for k, (tile, _) in enumerate(panels)}
    shape = (slices, names, padded)
    return Frame(constants, offsets, total, offsets["P"], offsets["sums"], shape)


def _chunk(steps: int, rows: int, step_bytes: int, ahead: int) -> int:
    """Steps whose hoisted products stay in the cache; enough of them to fill row tiles, which are
    at most eight rows (`machine.ROW_TILES`)."""
    if not step_bytes:
        return max(steps, 1)
    fits = max(1, ahead // step_bytes)
    return min(max(steps, 1), fits if rows >= 8 else max(fits, 8))
