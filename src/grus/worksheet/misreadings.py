"""The same numbers read otherwise: where a hand calculation lands when one thing is misread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects import DIALECTS, Layout, Unpacked, unpack
from grus.equations import Cell
from grus.mistakes import Calculation, misreadings, order_name

Array = Any
Weights = Mapping[str, Array]
SAME = 1e-12  # two ways to round one value in float64 differ by less


@dataclass(frozen=True)
class Misreading:
    """One way to read the numbers, and the last state it gives."""

    label: str
    final: tuple[float, ...]
    same: bool
    """True when it makes no difference here."""

    def __str__(self) -> str:
        return f"{self.label}{' (the same here)' if self.same else ''}"


def readings(
    cell: Cell,
    layout: Layout,
    tensors: Weights,
    unpacked: Unpacked,
    x: Array,
    h0: tuple[Array, ...] | None,
) -> tuple[Misreading, ...]:
    """The usual misreadings, each changing one thing: the order of the gates, the cell's
    equations, the side of a square block, x as a sequence. The first state stands for all."""
    right = Calculation.of(cell, unpacked.weights, x, h0)
    usual = right.final()
    misread = []
    for label, other in (*_of_orders(right, layout, tensors, unpacked), *misreadings(right)):
        final = other.final()
        same = bool(np.abs(final - usual).max() < SAME)
        misread.append(Misreading(label, tuple(map(float, final)), same))
    return tuple(misread)


def _of_orders(
    right: Calculation, layout: Layout, tensors: Weights, unpacked: Unpacked
) -> Iterator[tuple[str, Calculation]]:
    for order, dialects in _orders(layout).items():
        read = unpack(right.cell, replace(layout, order=order, gates_in=unpacked.gates_in), tensors)
        other = Calculation.of(right.cell, read.weights, right.x, right.h0)
        yield f"{order_name(order)} ({', '.join(dialects)})", other


def _orders(layout: Layout) -> dict[tuple[str, ...], list[str]]:
    """The orders in which others pack the same gates, and who they are."""
    users: dict[tuple[str, ...], list[str]] = {}
    for dialect in DIALECTS:
        if (
            dialect.proven
            and dialect.order != layout.order
            and set(dialect.order) == set(layout.order)
        ):
            users.setdefault(dialect.order, []).append(dialect.framework)
    return {order: list(dict.fromkeys(names))[:3] for order, names in users.items()}
