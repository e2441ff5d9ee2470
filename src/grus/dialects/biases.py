"""A framework's one or two biases, as the families b (outer) and d (inner) of a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from grus.dialects.layout import SECOND, Layout, in_order
from grus.equations import Cell, Weight
from grus.errors import InputError

Array = Any
Gates = tuple[str, ...]
FIRST = "b"


def unpack_biases(
    cell: Cell,
    layout: Layout,
    sizes: Mapping[str, int],
    single: Mapping[Weight, Array],
    tensors: Mapping[str, Array],
) -> tuple[dict[str, Array], int]:
    """Families b and d: zeros, single biases, or the framework's one or two biases.

    Also how many biases of all gates there were: 0, 1 or 2.
    """
    families = {f: cell.families[f] for f in "bd" if f in cell.families}
    found = {
        Weight(f, g): single.get(Weight(f, g), np.zeros(sizes[cell.family_axes(f)[0]]))
        for f, gates in families.items()
        for g in gates
    }
    given = dict(_given(cell, layout, sizes, tensors))
    for which, (gates, array) in given.items():
        for gate, part in zip(gates, np.split(array, len(gates)), strict=True):
            inner = which == SECOND and gate in families.get("d", ())
            weight = Weight("d" if inner else "b", gate)
            if weight in single:
                raise InputError(f"{weight.name} is given twice")
            found[weight] = found[weight] + part
    stacked = {f: np.concatenate([found[Weight(f, g)] for g in gs]) for f, gs in families.items()}
    return stacked, len(given)


def _given(
    cell: Cell, layout: Layout, sizes: Mapping[str, int], tensors: Mapping[str, Array]
) -> Iterator[tuple[str, tuple[Gates, Array]]]:
    """The first bias and the second, each with its gates and flat."""
    first, second = tensors.get(FIRST), tensors.get(SECOND)
    if first is not None:
        (gates,) = choices = _choices(cell, layout, FIRST)
        size = _size(cell, sizes)
        both = (2, len(gates) * size)
        if layout.biases and layout.biases.together and _fits(first, *both):
            if second is not None:
                raise InputError("the second bias is given twice: b already holds both")
            first, second = np.split(np.ravel(first), 2)
        yield FIRST, _match(FIRST, first, choices, size, layout)
    if second is not None:
        choices = _choices(cell, layout, SECOND)
        yield SECOND, _match(SECOND, second, choices, _size(cell, sizes), layout)


def _choices(cell: Cell, layout: Layout, which: str) -> list[Gates]:
    """The gates that a bias may be of, by what the layout says of it."""
    kind = layout.biases.second if layout.biases else None
    if which == SECOND and kind == "none":
        raise InputError("this layout has one bias; there is no second one to give")
    outer = [in_order(cell, "b", layout.order)] if "b" in cell.families else []
    inner = [in_order(cell, "d", layout.order)] if "d" in cell.families else []
    if which == FIRST:
        found = outer
    elif kind:
        found = inner if kind == "inner" else outer or inner
    else:
        found = [*outer, *inner]
    if not found:
        raise InputError(f"cell {cell.name} has no such bias as the {_said(which)}")
    return found


def _match(
    which: str, array: Array, choices: list[Gates], size: int, layout: Layout
) -> tuple[Gates, Array]:
    for gates in choices:
        if _fits(array, len(gates), size):
            return gates, np.ravel(array)
    told = " or ".join(f"{len(gates)} x {size} ({', '.join(gates)})" for gates in choices)
    if which == FIRST and layout.biases and layout.biases.together:
        told += ", or two rows of that"
    raise InputError(f"the {_said(which)} has {_told(array)}, wanted {told}")


def _fits(array: Array, blocks: int, size: int) -> bool:
    """True for a vector of all blocks, or a row for each; other shapes say something else."""
    whole = blocks * size
    return array.shape in ((whole,), (1, whole), (whole, 1), (blocks, size))


def _size(cell: Cell, sizes: Mapping[str, int]) -> int:
    return sizes[cell.family_axes("b" if "b" in cell.families else "d")[0]]


def _said(which: str) -> str:
    return "bias b" if which == FIRST else which


def _told(array: Array) -> str:
    return f"shape {array.shape}" if array.ndim > 1 else f"{array.size} numbers"
