"""One sequence of a cell: initial state, lengths, resets and direction, the same for every cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from grus.equations import Cell
from grus.errors import InputError
from grus.reference.evaluate import split, step_values
from grus.reference.operations import NUMPY, Operations

Array = Any


@dataclass(frozen=True)
class Sequence:
    """What a sequence gives. Time comes first everywhere."""

    output: Array
    """[time, batch, axis of the output]; 0 past a row's length."""
    state: tuple[Array, ...]
    """The final states, each [batch, axis]: at the last valid step; h0 at length 0."""
    values: list[dict[str, Array]]
    """All named values of each step, in the order in which the steps were taken."""


def run(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None = None,
    *,
    lengths: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    reset_to: Literal["zero", "h0"] = "zero",
    masks: Mapping[str, Array] | None = None,
) -> Sequence:
    """Run a cell over ``x`` [time, batch, input] in float64.

    ``h0`` [batch, hidden] (a tuple of them where the cell has several states) defaults to zeros.
    ``lengths`` [batch], 0 allowed: outputs past the end are 0. ``resets`` [time, batch]: this step
    begins with the state at zero (or h0), chosen by selection, so NaN does not leak through.
    ``reverse`` starts at each row's last valid step; outputs stay in time order.
    ``masks`` holds the cell's mask inputs: [time, batch, hidden] per step, else [batch, hidden].

    Raises InputError naming the argument whose shape or values cannot be.
    """
    x = _float64("x", x, 3)
    stacked = {family: np.asarray(w, np.float64) for family, w in weights.items()}
    start = _initial(cell, stacked, x, h0)
    steps, batch = x.shape[:2]
    lengths = _lengths(lengths, steps, batch)
    resets = _resets(resets, steps, batch)
    masks = {k: np.asarray(v, np.float64) for k, v in (masks or {}).items()}
    missing = {i.name for i in cell.inputs} - {"x"} - set(masks)
    if missing:
        raise InputError(f"cell {cell.name} needs masks {sorted(missing)}")
    return loop(
        cell, split(cell, stacked), x, start, lengths, resets, reverse, reset_to, masks, NUMPY
    )


def loop(
    cell: Cell,
    weights: Mapping[Any, Array],
    x: Array,
    start: tuple[Array, ...],
    lengths: Array,
    resets: Array | None,
    reverse: bool,
    reset_to: Literal["zero", "h0"],
    masks: Mapping[str, Array],
    ops: Operations,
) -> Sequence:
    """The loop itself, over any array library; arguments already checked."""
    state, values = start, []
    outputs: dict[int, Array] = {}
    per_step = {i.name for i in cell.inputs if i.per == "step"} - {"x"}
    base = start if reset_to == "h0" else tuple(map(ops.zeros_like, start))
    for t in reversed(range(x.shape[0])) if reverse else range(x.shape[0]):
        before = state
        if resets is not None:
            state = tuple(
                ops.where(resets[t][:, None], r, s) for r, s in zip(base, state, strict=True)
            )
        inputs = {k: v[t] if k in per_step else v for k, v in masks.items()}
        now = step_values(cell, weights, {"x": x[t], **inputs}, state, ops)
        values.append(now)
        valid = (t < lengths)[:, None]
        after = tuple(now[name + "_next"] for name in cell.states)
        state = tuple(ops.where(valid, a, s) for a, s in zip(after, before, strict=True))
        output = now[cell.output]
        outputs[t] = ops.where(valid, output, ops.zeros_like(output))
    output = ops.stack([outputs[t] for t in range(x.shape[0])]) if outputs else None
    if output is None:
        axis = cell.shapes.values[cell.output]
        width = start[[cell.shapes.states[s] for s in cell.states].index(str(axis))].shape[-1]
        output = np.zeros((0, x.shape[1], width))
    return Sequence(output, state, values)


def sizes(cell: Cell, weights: Mapping[str, Array], inputs: int) -> dict[str, int]:
    """The size of each axis, read from the weights' shapes."""
    found = {"input": inputs}
    for family, gates in cell.families.items():
        shape = weights[family].shape
        axes = cell.family_axes(family)
        for axis, size in zip(axes, (shape[0] // len(gates), *shape[1:]), strict=True):
            if found.setdefault(axis, size) != size:
                raise InputError(
                    f"{family} says {axis} is {size}, but it is {found[axis]} elsewhere"
                )
    return found


def _float64(name: str, value: Array, ndim: int) -> Array:
    array = np.asarray(value, np.float64)
    if array.ndim != ndim:
        raise InputError(f"{name} must have {ndim} axes, got shape {array.shape}")
    return array


def _initial(
    cell: Cell, weights: Mapping[str, Array], x: Array, h0: Array | tuple[Array, ...] | None
) -> tuple[Array, ...]:
    split(cell, weights)
    size = sizes(cell, weights, x.shape[2])
    shapes = [(x.shape[1], size[cell.shapes.states[s]]) for s in cell.states]
    if h0 is None:
        return tuple(np.zeros(shape) for shape in shapes)
    given = h0 if isinstance(h0, tuple) else (h0,)
    if len(given) != len(shapes):
        raise InputError(f"h0 must hold {len(shapes)} states {cell.states}, got {len(given)}")
    arrays = tuple(np.asarray(value, np.float64) for value in given)
    for name, array, shape in zip(cell.states, arrays, shapes, strict=True):
        if array.shape != shape:
            raise InputError(f"h0 of state {name} must have shape {shape}, got {array.shape}")
    return arrays


def _lengths(lengths: Array | None, steps: int, batch: int) -> Array:
    if lengths is None:
        return np.full(batch, steps)
    array = np.asarray(lengths)
    if array.shape != (batch,) or array.dtype.kind not in "iu":
        raise InputError(f"lengths must be {batch} integers, got {array.dtype} {array.shape}")
    if array.size and (array.min() < 0 or array.max() > steps):
        raise InputError(f"lengths must lie in 0..{steps}, got {array.min()}..{array.max()}")
    return array


def _resets(resets: Array | None, steps: int, batch: int) -> Array | None:
    if resets is None:
        return None
    array = np.asarray(resets)
    if array.shape != (steps, batch):
        raise InputError(f"resets must have shape {(steps, batch)}, got {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise InputError("resets must be bool, or 0 and 1")
    return array.astype(bool)
