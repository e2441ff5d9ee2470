"""The memory a call works in, laid out once for each combination of sizes.

One block holds the barrier's counters, the sums, the chunk of hoisted products, state and row
buffers, and the panels. A frame says where in the block each stands, and what else is constant.
"""

from __future__ import annotations

from dataclasses import dataclass

from grus.kernels.ir import Target
from grus.kernels.memory import ALIGN
from grus.kernels.plan import Plan
from grus.kernels.slots import group_axes, groups, operand_axis, tiles_slot, vector

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
