"""The size of every axis of a cell, from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from grus.errors import InputError

if TYPE_CHECKING:
    from grus.equations.cell import Cell

Array = Any
"""An array of any library; its shape alone is read."""


def sizes(
    cell: Cell, weights: Mapping[str, Array], inputs: int, h0: Array = None, *, row: bool = False
) -> dict[str, int]:
    """The size of each axis by its name.

    ``weights`` has the stacked arrays by family, ``inputs`` is the size of x, or with ``row`` that
    of x and the further inputs together; a state that no weight tells the size of has it from
    ``h0``, its array [batch, size] or one for each state.
    Raises InputError for a family that is missing, unknown or does not stack its gates, and for
    weights that do not fit together.
    """
    if set(weights) != set(cell.families):
        raise InputError(
            f"cell {cell.name} has the weight families {', '.join(cell.families)}, got"
            f" {', '.join(weights) or 'none'}"
        )
    whole = row and bool(cell.further)
    known = {} if whole else {"input": inputs}
    shapes = {family: tuple(weights[family].shape) for family in cell.families}
    for family, gates in cell.families.items():
        first, *rest = cell.family_axes(family)
        shape = shapes[family]
        if len(shape) != 1 + len(rest) or shape[0] % len(gates):
            raise InputError(
                f"weights[{family!r}] must stack {len(gates)} gates of a"
                f" {'matrix' if rest else 'vector'}, got shape {shape}"
            )
        read = (cell.operand_size(family, wide) for wide in shape[1:])
        counts = (shape[0] // len(gates), *read)
        for axis, size in zip((first, *rest), counts, strict=True):
            known.setdefault(axis, size)
    if whole:
        _from_states(cell, known, h0)
        known["input"] = input_size(cell, inputs, known)
    _join(cell, known)
    _from_states(cell, known, h0)
    for family, shape in shapes.items():
        wanted = cell.family_shape(family, known)
        if shape != wanted:
            raise InputError(f"weights[{family!r}] must have shape {wanted}, got {shape}")
    return known


def columns(cell: Cell, size: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """(first, count) of the columns of x and of each further input, by name, in the row that a
    layer reads at a step; ``size`` is that of each axis."""
    places, first = {"x": (0, size["input"])}, size["input"]
    for node in cell.further:
        count = size[cell.shapes.inputs[node]] if node in cell.shapes.inputs else 1
        places[node.name] = first, count
        first += count
    return places


def input_size(cell: Cell, width: int, size: Mapping[str, int]) -> int:
    """How many of the ``width`` columns of such a row are those of x, from the other axes' sizes.

    Raises InputError for a row of another width.
    """
    if not cell.further:
        return width
    axes = [cell.shapes.inputs.get(node) for node in cell.further]
    alike = 1 + axes.count("input")
    others = sum(size[axis] if axis else 1 for axis in axes if axis != "input")
    inputs, rest = divmod(width - others, alike)
    if rest or inputs < 1:
        names = ", ".join(["x", *(node.name for node in cell.further)])
        raise InputError(f"cell {cell.name} reads {names} at each step, which are not {width} wide")
    return inputs


def _join(cell: Cell, known: dict[str, int]) -> None:
    for axis, other in cell.shapes.equal:
        if known[axis] != known.setdefault(other, known[axis]):
            raise InputError(
                f"cell {cell.name} uses x element by element: {axis} and {other} must be of one"
                f" size, got {known[axis]} and {known[other]}"
            )


def _from_states(cell: Cell, known: dict[str, int], h0: Array) -> None:
    states = h0 if isinstance(h0, tuple) else () if h0 is None else (h0,)
    for k, state in enumerate(cell.states):
        axis = cell.shapes.states[state]
        if axis in known or axis == "input":
            continue
        shape = tuple(getattr(states[k], "shape", ())) if k < len(states) else ()
        if len(shape) != 2 + cell.positions:
            raise InputError(
                f"cell {cell.name}: no weight tells the size of state {state}; give h0"
                " [batch, size]"
            )
        known[axis] = shape[-1]
