"""The same numbers read otherwise: where a hand calculation lands when one thing is misread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects import DIALECTS, Layout, Unpacked, unpack
from grus.equations import CELLS, Cell
from grus.reference import run

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
    right = _final(cell, unpacked.weights, x, h0)
    found = []
    for label, other, weights, steps in _misread(cell, layout, tensors, unpacked, x):
        final = _final(other, weights, steps, h0)
        same = bool(np.abs(final - right).max() < SAME)
        found.append(Reading(label, tuple(map(float, final)), same))
    return tuple(found)


def _final(cell: Cell, weights: Weights, x: Array, h0: tuple[Array, ...] | None) -> Array:
    start = None if h0 is None else tuple(h[None] for h in h0)
    with np.errstate(over="ignore", invalid="ignore"):  # a misreading may overflow
        return run(cell, weights, x[:, None], start).state[0][0]


def _misread(
    cell: Cell, layout: Layout, tensors: Weights, unpacked: Unpacked, x: Array
) -> Iterator[tuple[str, Cell, Weights, Array]]:
    weights = unpacked.weights
    for order, dialects in _orders(cell, layout).items():
        other = replace(layout, order=order, gates_in=unpacked.gates_in)
        label = f"the blocks in the order {', '.join(order)} ({', '.join(dialects)})"
        yield label, cell, unpack(cell, other, tensors).weights, x
    for sister in _sisters(cell):
        doc = (sister.doc[:1].lower() + sister.doc[1:]).partition(" (")[0].rstrip(".")
        yield f"{sister.name}: {doc}", sister, _as_sister(sister, cell, weights), x
    for family, what in (("U", "U.T @ h for U @ h"), ("W", "W.T @ x for W @ x")):
        flipped = _flipped(cell, family, weights)
        if flipped is not None:
            yield f"each block of {family} transposed ({what})", cell, flipped, x
    if len(x) > 1:
        yield "the last x alone: the state not carried from step to step", cell, weights, x[-1:]
    if len(x) > 1 and x.shape[1] == 1:
        yield "all of x added up and taken as one step", cell, weights, x.sum(0, keepdims=True)


def _orders(cell: Cell, layout: Layout) -> dict[tuple[str, ...], list[str]]:
    """The orders in which others pack the same gates, and who they are."""
    found: dict[tuple[str, ...], list[str]] = {}
    for one in DIALECTS:
        if one.proven and one.order != layout.order and set(one.order) == set(layout.order):
            found.setdefault(one.order, []).append(one.framework)
    return {order: list(dict.fromkeys(names))[:3] for order, names in found.items()}


def _sisters(cell: Cell) -> Iterator[Cell]:
    """The package's other cells with the same gates, so the same numbers."""
    for other in CELLS.values():
        same = other.families.get("W") == cell.families.get("W") and other.states == cell.states
        if same and other != cell and set(other.families) | {"d"} == set(cell.families) | {"d"}:
            yield other


def _as_sister(sister: Cell, cell: Cell, weights: Weights) -> Weights:
    """The weights as the sister takes them: an inner bias it has not is an outer one."""
    found = {family: weights[family] for family in sister.families if family in weights}
    if "d" in sister.families and "d" not in weights:
        return found | {"d": np.zeros(len(weights["b"]) // len(cell.families["b"]))}
    if "d" in weights and "d" not in sister.families:
        parts = np.split(weights["b"], len(cell.families["b"]))
        at = cell.families["b"].index(cell.families["d"][0])
        parts[at] = parts[at] + weights["d"]
        return found | {"b": np.concatenate(parts)}
    return found


def _flipped(cell: Cell, family: str, weights: Weights) -> Weights | None:
    """The weights with each block of a family transposed; None where that cannot be mistaken."""
    blocks = np.split(weights[family], len(cell.families[family])) if family in weights else []
    if not blocks or blocks[0].shape[0] != blocks[0].shape[1] or len(blocks[0]) == 1:
        return None
    return {**weights, family: np.concatenate([block.T for block in blocks])}
