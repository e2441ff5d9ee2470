"""Weights of a cell that has none yet, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]
NORMS = {**dict.fromkeys(("ga", "gx", "gh", "gc"), 1.0), "sc": 0.0}
"""Layer norm's gains and shift, and what they begin with."""


def draw(
    cell: Cell,
    size: Mapping[str, int],
    gain: float,
    gate_bias: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Weights by family in float64 from U(-1/sqrt(H), 1/sqrt(H)), U times ``gain``.

    ``size`` is that of each axis, ``gate_bias`` has biases (family b) by gate. Raises InputError
    for a cell that needs masks from outside, or one size for input and hidden units, for a gate
    that has no bias, and for a gain that is not finite.
    """
    if not math.isfinite(gain):
        raise InputError(f"gain must be a finite number, got {gain}")
    given = [i.name for i in cell.inputs if i.name != "x" and i.keep is None]
    if given:
        raise InputError(f"cell {cell.name} needs the masks {', '.join(given)}")
    for one, other in cell.shapes.equal:
        if size[one] != size[other]:
            raise InputError(
                f"cell {cell.name} needs {one} = {other}, got {size[one]} and {size[other]}"
            )
    bound, found = 1 / math.sqrt(size["hidden"]), {}
    for family in cell.families:
        shape = cell.family_shape(family, dict(size))
        drawn = rng.uniform(-bound, bound, shape)
        found[family] = np.full(shape, NORMS[family]) if family in NORMS else drawn
    if "U" in found:
        found["U"] = found["U"] * gain
    biased = cell.families.get("b", ())
    for gate, value in gate_bias.items():
        if gate not in biased or not math.isfinite(value):
            raise InputError(
                f"cell {cell.name} has no bias of a gate {gate[:60]!r} to set to {value}; gates"
                f" with one: {', '.join(biased) or 'none'}"
            )
        found["b"].reshape(len(biased), -1)[biased.index(gate)] = value
    return found
