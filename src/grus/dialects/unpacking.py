"""A framework's tensors, unpacked into weights by family as the cell's equations name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects.biases import unpack_biases
from grus.dialects.dialect import Side
from grus.dialects.layout import SECOND, Layout, in_order
from grus.dialects.measure import Block, cut, solve
from grus.equations import Cell, Weight
from grus.errors import InputError

Array = Any


@dataclass(frozen=True)
class Unpacked:
    """Weights by family, stacked in the order of the equations, and how they were read."""

    weights: dict[str, Array]
    sizes: dict[str, int]
    gates_in: Side
    biases: int
    """How many biases of all gates were read: 0, 1 or 2."""


def unpack(cell: Cell, layout: Layout, tensors: Mapping[str, Array]) -> Unpacked:
    """Weights by family from packed tensors.

    ``tensors`` maps a family ("W", all gates in the layout's order) or a single weight ("W.r")
    to an array: [gates * rows, columns] or the other way round, a vector, or a flat list of the
    same numbers. "b" may hold both biases where the layout says so; `SECOND` is the other bias.
    Absent b and d are zeros.

    Raises InputError when a tensor is missing, given twice, or of a size that cannot be, and when
    the shapes do not tell which way round the tensors are.
    """
    layout.check(cell)
    blocks = list(_blocks(cell, layout, tensors))
    _check_given(cell, blocks)
    sides: tuple[Side, ...] = (layout.gates_in,) if layout.gates_in else ("rows", "columns")
    found: list[Unpacked] = []
    reasons: list[str] = []
    for side in sides:
        try:
            found.append(_unpack(cell, layout, side, blocks, tensors))
        except InputError as error:
            reasons.append(str(error))
    if not found:
        same = len(set(reasons)) == 1
        told = (f"with the gates in the {s}, {r}" for s, r in zip(sides, reasons, strict=True))
        raise InputError(reasons[0] if same else "; ".join(told))
    if any(not _same(found[0].weights, other.weights) for other in found[1:]):
        raise InputError(
            "the shapes do not tell whether the gates stand in the rows (PyTorch, ONNX) or in the"
            " columns (Keras, Flax); say --gates-in rows or --gates-in columns"
        )
    return found[0]


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(np.array_equal(one[family], other[family]) for family in one)


def _blocks(cell: Cell, layout: Layout, tensors: Mapping[str, Array]) -> Iterator[Block]:
    """The tensors but the biases of all gates, which may hold more than their family says."""
    for key, array in tensors.items():
        family, _, gate = key.partition(".")
        if key in (SECOND, "b"):
            continue
        if family not in cell.families or (gate and gate not in cell.families[family]):
            known = ", ".join(w.name for w in cell.weights)
            raise InputError(f"cell {cell.name} has no weight {key}; it has {known}")
        gates = (gate,) if gate else in_order(cell, family, layout.order)
        # ONNX has an axis for the direction in front.
        plain = array[0] if array.ndim == 3 and len(array) == 1 else array
        if plain.ndim > 2:
            raise InputError(f"{key} has shape {array.shape}; it takes at most two axes")
        yield Block(key, family, gates, cell.family_axes(family), plain)


def _check_given(cell: Cell, blocks: list[Block]) -> None:
    given = [Weight(block.family, gate) for block in blocks for gate in block.gates]
    twice = [w.name for w in given if given.count(w) > 1]
    if twice:
        raise InputError(f"{twice[0]} is given twice")
    missing = [w for w in cell.weights if w not in given and w.family not in ("b", "d")]
    if missing:
        absent = dict.fromkeys(
            w.name if any(g.family == w.family for g in given) else w.family for w in missing
        )
        raise InputError(f"cell {cell.name} needs the weights {', '.join(absent)} too")


def _unpack(
    cell: Cell, layout: Layout, side: Side, blocks: list[Block], tensors: Mapping[str, Array]
) -> Unpacked:
    sizes = solve(blocks, side)
    single: dict[Weight, Array] = {}
    for block in blocks:
        single |= cut(block, side, sizes)
    weights = {
        family: np.concatenate([single[Weight(family, g)] for g in gates])
        for family, gates in cell.families.items()
        if family not in ("b", "d")
    }
    biases, number = unpack_biases(cell, layout, sizes, single, tensors)
    return Unpacked(weights | biases, sizes, side, number)
