"""The sizes of the axes, from the shapes of packed tensors, or from counts where a list is flat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects.dialect import Side
from grus.equations import Weight
from grus.errors import InputError

Array = Any


@dataclass(frozen=True, slots=True)
class Block:
    """One tensor: the gates it holds, in its order, and its rows and columns by axis name."""

    key: str
    family: str
    gates: tuple[str, ...]
    axes: tuple[str, ...]
    array: Array


def solve(blocks: list[Block], side: Side) -> dict[str, int]:
    """The size of each axis, from shapes, and from counts where a list is flat."""
    sizes: dict[str, int] = {}
    waiting = blocks
    while waiting:
        later = [block for block in waiting if not _measure(block, side, sizes)]
        if len(later) == len(waiting):
            raise InputError(
                f"the size of {later[0].key} cannot be told from a flat list; write its rows"
            )
        waiting = later
    return sizes


def _measure(block: Block, side: Side, sizes: dict[str, int]) -> bool:
    """Learn sizes from one tensor; False when that must wait for another."""
    gates, array = len(block.gates), block.array
    if len(block.axes) == 1:
        _learn(block, side, sizes, block.axes[0], array.size, gates)
        return True
    rows, columns = block.axes
    if array.ndim == 2:
        stacked, plain = array.shape if side == "rows" else array.shape[::-1]
        _learn(block, side, sizes, rows, stacked, gates)
        _learn(block, side, sizes, columns, plain, 1)
    elif rows == columns:
        root = math.isqrt(array.size // gates)
        if gates * root * root != array.size:
            raise InputError(
                f"{block.key} has {array.size} numbers, which are not {gates} square blocks"
            )
        _learn(block, side, sizes, rows, root, 1)
    elif rows in sizes:
        _learn(block, side, sizes, columns, array.size, gates * sizes[rows])
    elif columns in sizes:
        _learn(block, side, sizes, rows, array.size, gates * sizes[columns])
    else:
        return False
    return True


def _learn(
    block: Block, side: Side, sizes: dict[str, int], axis: str, count: int, parts: int
) -> None:
    size, rest = divmod(count, parts)
    if rest or not size:
        where = f" in its {side}" if block.array.ndim > 1 else ""
        raise InputError(
            f"{block.key} of {_told(block.array)} does not hold {len(block.gates)} gates of one"
            f" size{where} ({', '.join(block.gates)})"
        )
    if sizes.setdefault(axis, size) != size:
        raise InputError(
            f"{block.key} of {_told(block.array)} makes the {axis} size {size}, another weight"
            f" makes it {sizes[axis]}"
        )


def _told(array: Array) -> str:
    return f"shape {array.shape}" if array.ndim > 1 else f"{array.size} numbers"


def cut(block: Block, side: Side, sizes: Mapping[str, int]) -> dict[Weight, Array]:
    """The tensor as one array for each gate, rows first."""
    axes = [sizes[axis] for axis in block.axes]
    stacked = (len(block.gates) * axes[0], *axes[1:])
    if side == "columns" and len(axes) == 2:
        array = block.array.reshape(stacked[::-1]).T
    else:
        array = block.array.reshape(stacked)
    parts = np.split(array, len(block.gates))
    return {Weight(block.family, g): part for g, part in zip(block.gates, parts, strict=True)}
