"""What a cell computes inside: named values of every step, written by the forward kernel itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from grus.equations import Cell, expected
from grus.errors import InputError
from grus.kernels import ONE, axis_sizes, make_plan
from grus.runtime import arrays
from grus.runtime.arguments import check, check_steps, check_threads
from grus.runtime.rows import packing

Array = np.ndarray[Any, np.dtype[Any]]


def values(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None = None,
    names: Sequence[str] | None = None,
    *,
    lengths: Array | None = None,
    resets: Array | None = None,
    reset_to: Literal["zero", "h0"] = "zero",
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[dict[str, Array], tuple[Array, ...]]:
    """The values called ``names`` at every step of `run`, and the final states.

    ``names`` are those of the cell's equations ("z", "n", "h_next"), every one by default; the name
    of a state ("h") is the state after the step, the same as "h_next". Each value is [time, batch,
    size of its axis] (1 for what is one number for each row), in the dtype of ``x``, NaN past a
    row's end. The bits are those that `run` computes with. The masks of a cell that draws some are
    their means. The other arguments are `run`'s.

    Raises InputError naming the argument that cannot be, or the name that the cell has not.
    """
    cell = expected(cell)
    make_plan(cell)  # what the kernels cannot run is said before anything else
    x, weights, start = check(cell, weights, x, h0)
    check_threads(threads)
    steps = check_steps(lengths, resets, reset_to, x.shape[:2], reverse=reverse)
    wanted = {name: equation(cell, name) for name in value_names(cell, names)}
    # In the order of the equations, so that no order of asking compiles anew.
    into = {
        name: np.empty((*x.shape[:2], size), x.dtype)
        for name, size in value_sizes(cell, weights, start).items()
        if name in wanted.values()
    }
    pack = packing(steps)
    if pack is not None:
        for array in into.values():
            pack.blank(array, np.nan)
    final = tuple(np.empty(s.shape, x.dtype) for s in start)
    arrays.store(cell, weights, x, start, into, final, steps, threads, start)
    return {name: into[own] for name, own in wanted.items()}, final


def value_names(cell: Cell, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names asked for, every equation's by default. Raises InputError unless the cell has them.

    A string would be read letter by letter and is refused.
    """
    known = [name for name, _ in cell.equations]
    if names is None:
        return tuple(known)
    if isinstance(names, str):
        raise InputError(f"names must be a list of names, got the text {names[:80]!r}")
    for name in names:
        if name not in known and name not in cell.states:
            raise InputError(
                f"cell {cell.name} has no value {str(name)[:80]!r}; it has"
                f" {', '.join([*known, *cell.states])}"
            )
    return tuple(dict.fromkeys(names))


def equation(cell: Cell, name: str) -> str:
    """The equation that gives a value: of a state its next value's."""
    return f"{name}_next" if name in cell.states else name


def value_sizes(
    cell: Cell, weights: Mapping[str, Array], states: tuple[Array, ...] = ()
) -> dict[str, int]:
    """The length of each equation's value, from weights and states [batch, axis]; 1 for what is
    one number for each row."""
    sizes = axis_sizes(cell, weights, states)
    return {name: sizes[cell.shapes.values[name] or ONE] for name, _ in cell.equations}
