"""The memory a call works in, laid out once for each combination of sizes.

One block holds the barrier's counters, the sums, the chunk of hoisted products, state and row
buffers, and the panels. A frame says where in the block each stands, and what else is constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grus.kernels.ir import Target
from grus.kernels.plan import Plan

Sizes = tuple[int, int, int, int]
"""T, B, I, H."""
ALIGN = 64


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
    members: Sequence[int],
    names: int,
    sizes: Sizes,
    split: tuple[int, bool],
    ahead: int,
) -> Frame:
    """The frame of a call; ``members`` are the products of each group, ``names`` how many values
    are summed, ``split`` is (threads, by hidden units), ``ahead`` the bytes of products with x that
    are computed ahead of the time loop."""
    steps, batch, inputs, hidden = sizes
    threads, by_hidden = split
    slices = 1 if by_hidden else threads
    tiles = -(-hidden // target.lanes)
    padded = tiles * target.lanes
    # One cache line more than the row, so that rows do not fall into the same cache sets.
    ld = padded * target.item + ALIGN
    rows = -(-batch // slices)
    row = len(plan.hoisted) * padded * target.item
    chunk = _chunk(steps, rows, rows * row, ahead)
    sums = names * padded * target.item
    panels = [
        -(-(inputs if k == 0 and plan.hoisted else hidden) // target.lanes)
        * (target.lanes * count * target.machine.vector_bytes)
        for k, count in enumerate(members)
    ]
    buffers = {"barrier": 2 * ALIGN, "sums": slices * sums, "P": chunk * rows * row * slices}
    own = [*(f"state.{s}" for s in plan.cell.states), *(f"row.{v}" for v in plan.rows)]
    buffers |= dict.fromkeys(own, 2 * batch * ld)
    buffers |= {f"panel.{k}": size * tiles for k, size in enumerate(panels)}
    offsets, total = {}, 0
    for name, size in buffers.items():
        offsets[name] = total
        total += -(-size // ALIGN) * ALIGN
    constants = {
        "T": steps, "B": batch, "H": hidden, "I": inputs, "tiles": tiles, "ld": ld,
        "threads": threads, "slices": slices, "by_hidden": int(by_hidden), "chunk": chunk,
        "sums.slice": sums, "P.row": row, "P.time": rows * row, "P.slice": chunk * rows * row,
    }  # fmt: skip
    constants |= {f"panel.{k}.tile": size for k, size in enumerate(panels)}
    shape = (slices, names, padded)
    return Frame(constants, offsets, total, offsets["P"], offsets["sums"], shape)


def _chunk(steps: int, rows: int, step_bytes: int, ahead: int) -> int:
    """Steps whose hoisted products stay in the cache; enough of them to fill row tiles."""
    if not step_bytes:
        return max(steps, 1)
    fits = max(1, ahead // step_bytes)
    return min(max(steps, 1), fits if rows >= 8 else max(fits, 8))
