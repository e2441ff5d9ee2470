"""What holding means, said a second time: the whole cell, with the held values overwritten."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from grus.equations import Cell, Expr, Input, Name, State
from grus.reference import evaluate, split

Array = np.ndarray


def overwritten(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: tuple[Array, ...],
    values: Mapping[str, float],
) -> tuple[Array, tuple[Array, ...]]:
    """(output, final states) of ``cell``; a held value is overwritten when it is computed."""
    state, outputs = dict(zip(cell.states, start, strict=True)), []
    for now in x:
        found: dict[Expr, Array] = {**split(cell, weights), Input("x"): now}
        found |= {State(name): value for name, value in state.items()}
        for name, expr in cell.equations:
            value = np.asarray(evaluate(expr, found))
            found[Name(name)] = np.full(value.shape, values[name]) if name in values else value
        state = {name: found[Name(f"{name}_next")] for name in cell.states}
        outputs.append(found[Name(cell.output)])
    return np.stack(outputs), tuple(state.values())
