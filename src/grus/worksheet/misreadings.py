"""The same numbers read otherwise: where a hand calculation lands when one thing is misread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects import DIALECTS, Layout, Unpacked, unpack
from grus.dialects.slips import Calculation, another_cell, one_step, transposed
from grus.equations import Cell

Array = Any
Weights = Mapping[str, Array]
SAME = 1e-12  # two ways to round one value in float64 differ by less


@dataclass(frozen=True)
class Reading:
    """One way to read the numbers, and the last state it gives."""

    label: str
    final: tuple[float, ...]
    same: bool
    """True when it makes no difference here."""


def readings(
    cell: Cell,
    layout: Layout,
    tensors: Weights,
    unpacked: Unpacked,
    x: Array,
    h0: tuple[Array, ...] | None,
) -> tuple[Reading, ...]:
    """The usual misreadings, each changing one thing: the order of the gates, the cell's
    equations, the side of a square block, x as a sequence. The first state stands for all."""
    right = Calculation(cell, unpacked.weights, x, h0)
    found = []
    for label, other in _misread(right, layout, tensors, unpacked):
        final = other.final()
        same = bool(np.abs(final - right.final()).max() < SAME)
        found.append(Reading(label, tuple(map(float, final)), same))
    return tuple(found)


def _misread(
    right: Calculation, layout: Layout, tensors: Weights, unpacked: Unpacked
) -> Iterator[tuple[str, Calculation]]:
    for order, dialects in _orders(layout).items():
        other = replace(layout, order=order, gates_in=unpacked.gates_in)
        label = f"the blocks in the order {', '.join(order)} ({', '.join(dialects)})"
        yield label, replace(right, weights=unpack(right.cell, other, tensors).weights)
    for slip in (another_cell, transposed, one_step):
        yield from slip(right)


def _orders(layout: Layout) -> dict[tuple[str, ...], list[str]]:
    """The orders in which others pack the same gates, and who they are."""
    found: dict[tuple[str, ...], list[str]] = {}
    for one in DIALECTS:
        if one.proven and one.order != layout.order and set(one.order) == set(layout.order):
            found.setdefault(one.order, []).append(one.framework)
    return {order: list(dict.fromkeys(names))[:3] for order, names in found.items()}
