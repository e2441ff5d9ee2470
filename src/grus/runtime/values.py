"""What a cell computes inside: named values of every step, and how a loss reaches the states;
written by the forward and the backward kernel themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np

from grus.equations import Cell, expected
from grus.errors import InputError
from grus.kernels import (
    ONE,
    PLAIN,
    Array,
    address,
    axis_sizes,
    give,
    layout,
    output_size,
    saved_size,
)
from grus.runtime import arrays
from grus.runtime.arguments import Options, check, check_steps
from grus.runtime.arrays import backwards, buffers, forward
from grus.runtime.backward_calls import Adjoint
from grus.runtime.buffer import Buffer, array
from grus.runtime.rows import packing


def values(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None = None,
    names: Sequence[str] | None = None,
    *,
    threads: int | None = None,
    **options: Unpack[Options],
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
    x, weights, start = check(cell, weights, x, h0, threads, planned=True)
    steps = check_steps(x.shape[:2], **options)
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
    return {name: into[equal] for name, equal in wanted.items()}, final


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


def adjoints(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None,
    dy: Array,
    *,
    threads: int | None = None,
) -> tuple[dict[str, Array], Array]:
    """dL/d(each state after each step) [time, batch, axis] by state, and dL/dx.

    ``dy`` [time, batch, size of the output] is dL/d(output) at each step, in the dtype of ``x``;
    the other arguments are `run`'s. A state's adjoint is total: what this step's output hands it
    and what all later steps do. Masks that the cell draws are their means.

    Raises InputError naming the argument that cannot be.
    """
    cell = expected(cell)
    x, weights, start = check(cell, weights, x, h0, threads, planned=True)
    shape = (*x.shape[:2], output_size(cell, weights, start))
    if not isinstance(dy, np.ndarray) or dy.shape != shape or dy.dtype != x.dtype:
        of = f"{dy.dtype} of shape {dy.shape}" if isinstance(dy, np.ndarray) else type(dy).__name__
        raise InputError(f"dy must be {x.dtype} of shape {shape}, got {of}")
    axes, plan = axis_sizes(cell, weights, start), layout(cell)
    output, saved = np.empty(shape, x.dtype), np.empty(saved_size(cell, x.shape, axes), x.dtype)
    final = tuple(map(np.empty_like, start))
    forward(cell, weights, x, start, output, final, saved, threads=threads)
    names = {s: f"d_{s}" for s in cell.states}
    into = {
        name: np.empty((*x.shape[:2], axes[cell.shapes.states[state]]), x.dtype)
        for state, name in names.items()
        if name not in plan.adjoints
    }
    dresults = (np.ascontiguousarray(dy), *map(np.zeros_like, start))
    tensors = (x, *start, *(weights[family] for family in cell.families))
    needs = (True, *[True] * len(start), *[False] * len(cell.families))
    call = Adjoint(PLAIN, needs, Buffer(output), Buffer(saved), buffers(dresults), buffers(tensors))
    laid = backwards(cell, x.dtype.name).lay(call, into={n: Buffer(a) for n, a in into.items()})
    laid.run(laid.buffers, 0, laid.results, threads)
    first = laid.buffers[4] - address(laid.adjoints)
    block = laid.adjoints[first : first + x.itemsize * x.shape[0] * x.shape[1] * plan.columns(axes)]
    flat = block.view(x.dtype).reshape(*x.shape[:2], plan.columns(axes))
    for name in names.values():
        if name not in into:
            at, size = plan.place(name, axes)
            into[name] = flat[..., at : at + size].copy()
    give(laid.adjoints)
    return {state: into[name] for state, name in names.items()}, array(laid.gradients[0])
