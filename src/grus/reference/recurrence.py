"""One sequence of a cell: initial state, lengths, resets and direction, the same for every cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from grus.arguments import check_lengths, check_resets, check_states
from grus.equations import Cell, expected, sizes
from grus.errors import InputError
from grus.reference.evaluate import NUMPY, Operations, split, step_values
from grus.reference.masks import draw
from grus.reference.positions import over_positions

Array = Any


@dataclass(frozen=True)
class Sequence:
    """The results of a sequence. Time comes first everywhere."""

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
    seed: int | None = None,
    first: int = 0,
    graph: Any = None,
) -> Sequence:
    """Run a cell over ``x`` [time, batch, input] in float64.

    ``h0`` [batch, hidden] (a tuple of them where the cell has several states) defaults to zeros.
    ``lengths`` [batch], 0 allowed: outputs past the end are 0. ``resets`` [time, batch]: this step
    begins with the state at zero (or h0), chosen by selection, so NaN does not leak through.
    ``reverse`` starts at each row's last valid step; outputs stay in time order.
    ``masks`` holds the cell's mask inputs by name: [time, batch, hidden] for ``step.k``, else
    [batch, hidden]. Masks that the cell draws come from ``seed`` (`masks.draw`), ``first`` being
    the time of the first step; without a seed their means stand for them.

    Where the cell reads other positions, the axes of positions stand before the last one: x is
    [time, batch, *positions, input], a state [batch, *positions, hidden]. ``graph`` is the matrix
    that ``neighbours`` reads, [positions, positions], or a list of them.

    Raises InputError naming the argument whose shape or values cannot be.
    """
    cell = expected(cell) if seed is None else cell
    x = _float64("x", x)
    if x.ndim != 3 + cell.positions:
        axes = ", ".join(["time", "batch", *["position"] * cell.positions, "input"])
        raise InputError(f"x must be [{axes}], got shape {x.shape}")
    stacked = {family: _float64(f"weights {family}", w) for family, w in weights.items()}
    single = split(cell, stacked)
    size = sizes(cell, stacked, x.shape[-1], h0)
    (steps, batch), positions = x.shape[:2], x.shape[2:-1]
    whole = {"time": steps, "batch": batch}
    drawn = draw(cell, size, steps, batch, seed, first) if seed is not None else {}
    return loop(
        cell,
        single,
        x,
        _initial(cell, size, (batch, *positions), h0),
        np.full(batch, steps) if lengths is None else check_lengths(lengths, whole),
        None if resets is None else check_resets(resets, whole),
        reverse,
        reset_to,
        _masks(cell, size, steps, batch, masks or {}) | drawn,
        over_positions(cell, graph, positions),
        size[str(cell.shapes.values[cell.output])],
    )


def loop(
    cell: Cell,
    weights: Mapping[Any, Array],
    x: Array,
    start: tuple[Array, ...],
    lengths: Array | None,
    resets: Array | None,
    reverse: bool,
    reset_to: Literal["zero", "h0"],
    masks: Mapping[str, Array],
    ops: Operations,
    width: int = 0,
) -> Sequence:
    """The loop itself, over any array library; arguments already checked.

    ``lengths`` None means that every step is valid; ``width`` is the output's where T is 0.
    """
    state, values = start, []
    outputs: dict[int, Array] = {}
    per_step = {i.name for i in cell.inputs if i.per != "sequence"} - {"x"}
    base = start if reset_to == "h0" else tuple(map(ops.zeros_like, start))
    for t in reversed(range(x.shape[0])) if reverse else range(x.shape[0]):
        inputs = {"x": x[t], **{k: v[t] if k in per_step else v for k, v in masks.items()}}
        valid = None if lengths is None else t < lengths
        begins = None if resets is None else resets[t]
        state, outputs[t], now = advance(cell, weights, inputs, state, base, valid, begins, ops)
        values.append(now)
    if not outputs:
        return Sequence(np.zeros((0, *x.shape[1:-1], width)), state, values)
    return Sequence(ops.stack([outputs[t] for t in range(x.shape[0])]), state, values)


def advance(
    cell: Cell,
    weights: Mapping[Any, Array],
    inputs: Mapping[str, Array],
    state: tuple[Array, ...],
    base: tuple[Array, ...],
    valid: Array | None,
    begins: Array | None,
    ops: Operations = NUMPY,
) -> tuple[tuple[Array, ...], Array, dict[str, Array]]:
    """One step of a sequence: (next state, output, all named values).

    ``begins`` [batch]: the rows that take ``base`` for their state before the step; ``valid``
    [batch]: those whose length it lies in, None for all. The others keep their state.
    """
    before = state
    if begins is not None:
        state = _select(ops, begins, base, state)
    if valid is not None:
        # Padding may hold NaN or Inf; it is replaced before it can meet a number.
        zeros = map(ops.zeros_like, inputs.values())
        inputs = dict(zip(inputs, _select(ops, valid, inputs.values(), zeros), strict=True))
    now = step_values(cell, weights, inputs, state, ops)
    state, output = tuple(now[name + "_next"] for name in cell.states), now[cell.output]
    if valid is not None:
        state = _select(ops, valid, state, before)
        (output,) = _select(ops, valid, [output], [ops.zeros_like(output)])
    return state, output, now


def _select(
    ops: Operations, rows: Array, chosen: Iterable[Array], otherwise: Iterable[Array]
) -> tuple[Array, ...]:
    """Row by row one array or the other; never a product, so that NaN does not leak."""
    pairs = zip(chosen, otherwise, strict=True)
    return tuple(
        ops.where(rows.reshape(-1, *[1] * (first.ndim - 1)), first, second)
        for first, second in pairs
    )


def _float64(name: str, value: Array) -> Array:
    try:
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return array.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers, all rows of one length") from None
    raise InputError(f"{name} must hold real numbers, got {array.dtype}")


def _initial(
    cell: Cell, size: Mapping[str, int], rows: tuple[int, ...], h0: Array | tuple[Array, ...] | None
) -> tuple[Array, ...]:
    shapes = [(*rows, size[cell.shapes.states[s]]) for s in cell.states]
    if h0 is None:
        return tuple(np.zeros(shape) for shape in shapes)
    arrays = tuple(_float64("h0", value) for value in check_states(cell.states, h0))
    for name, array, shape in zip(cell.states, arrays, shapes, strict=True):
        if array.shape != shape:
            raise InputError(f"h0 of state {name} must have shape {shape}, got {array.shape}")
    return arrays


def _masks(
    cell: Cell, size: Mapping[str, int], steps: int, batch: int, masks: Mapping[str, Array]
) -> dict[str, Array]:
    nodes = [node for node in cell.inputs if node.name != "x" and node.keep is None]
    wanted = {node.name: node for node in nodes}
    if set(masks) != set(wanted):
        raise InputError(f"cell {cell.name} has masks {sorted(wanted)}, got {sorted(masks)}")
    arrays = {name: _float64(f"mask {name}", value) for name, value in masks.items()}
    for name, node in wanted.items():
        axes = (batch,) if node.per == "sequence" else (steps, batch)
        shape = (*axes, 1 if node.per == "number" else size[cell.shapes.inputs[node]])
        if arrays[name].shape != shape:
            raise InputError(f"mask {name} must have shape {shape}, got {arrays[name].shape}")
    return arrays
