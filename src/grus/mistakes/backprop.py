"""Backpropagation through time in NumPy: the derived backward step, run from the last to the first.

The slow meaning of `grus.gradients`, for comparing: it evaluates the backward equations with the
reference's evaluator and sums the weights' gradients term by term.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grus.dialects.tensor_layout import stacked
from grus.equations import Cell, Input, Name, State, Weight, with_blocks
from grus.gradients import Backward, WeightGradient
from grus.reference import evaluate, split, step_values

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Problem:
    """One sequence and a loss: sum(dy * output) + sum over states of sum(dstate * final state)."""

    weights: Mapping[str, Array]
    x: Array
    start: tuple[Array, ...]
    masks: Mapping[str, Array]
    dy: Array
    dstate: tuple[Array, ...]
    back_masks: Mapping[str, Array] | None = None
    """Other masks for the way back than for the way out: a mistake that people make."""
    carried: bool = True
    """False: no gradient goes from a step to the one before; another."""


@dataclass(frozen=True)
class Gradients:
    """The loss's derivatives, each with the shape of what it belongs to."""

    weights: dict[str, Array]
    x: Array
    start: tuple[Array, ...]
    further: dict[str, Array] = field(default_factory=dict)
    """Those of the further inputs, by name."""


def backpropagate(cell: Cell, back: Backward, problem: Problem) -> Gradients:
    """All gradients of the problem's loss by the backward step of ``cell``.

    Families and states are in the order of ``cell``; its flat form and the backward step may have
    others, so everything goes by name.
    """
    weights = split(cell, problem.weights)
    read = {n for n in back.cell.nodes if isinstance(n, Weight)}
    steps = _forward(cell, back, weights, problem)
    adjoint = {f"d{name}": d for name, d in zip(cell.states, problem.dstate, strict=True)}
    totals: dict[Weight, Array] = {}
    before = adjoint
    inputs = {"x": np.zeros_like(problem.x)}
    inputs |= {name: np.zeros_like(problem.masks[name]) for name, _ in back.further}
    for t in reversed(range(len(problem.x))):
        seen = steps[t] | {"x": problem.x[t], "dy": problem.dy[t]}
        seen |= {name: mask[t] for name, mask in (problem.back_masks or {}).items()}
        states = tuple(adjoint[name] for name in back.cell.states)
        now = step_values(back.cell, {w: weights[w] for w in read}, seen, states)
        before = {name: now[f"{name}_next"] for name in adjoint}
        adjoint = before if problem.carried else {n: np.zeros_like(a) for n, a in before.items()}
        for term in back.weights:
            total = totals.setdefault(term.weight, np.zeros_like(weights[term.weight]))
            count = cell.reading(term.weight.family)[1]
            total += _weight_term(now[term.adjoint], term, seen, total.shape, count)
        for name, terms in back.inputs:
            for weight, adjoint_of in terms:
                part = now[adjoint_of]
                if weight is not None:
                    product = weight.T @ with_blocks(
                        Name(adjoint_of), cell.reading(weight.family)[1]
                    )
                    part = evaluate(product, {weight: weights[weight], Name(adjoint_of): part})
                # One number is read by every unit.
                many = part.shape[-1] > inputs[name].shape[-1]
                inputs[name][t] += part.sum(axis=-1, keepdims=True) if many else part
    start = tuple(before[f"d{name}"] for name in cell.states)
    return Gradients(_stack(cell, totals, weights), inputs.pop("x"), start, inputs)


def _forward(
    cell: Cell, back: Backward, weights: Mapping[Weight, Array], problem: Problem
) -> list[dict[str, Array]]:
    """For each step: the forward values, the states as read, and the masks, all by name."""
    flat, steps = back.forward, []
    state = dict(zip(cell.states, problem.start, strict=True))
    per_step = {i.name for i in flat.inputs if i.per != "sequence"}
    for t in range(len(problem.x)):
        masks = {k: m[t] if k in per_step else m for k, m in problem.masks.items()}
        now = tuple(state[name] for name in flat.states)
        values = step_values(flat, weights, {"x": problem.x[t], **masks}, now)
        steps.append(values | masks | state)
        state = {name: values[f"{name}_next"] for name in state}
    return steps


def _weight_term(
    adjoint: Array,
    term: WeightGradient,
    seen: Mapping[str, Array],
    shape: tuple[int, ...],
    count: int,
) -> Array:
    """One row of ``shape`` a unit; of a matrix of ``count`` blocks each block by itself."""
    operand, batch = term.operand, len(seen["x"])
    if operand is None:
        return np.asarray(np.broadcast_to(adjoint, (batch, *shape)).sum(axis=0))
    if not isinstance(operand, (Input, Name, State)):
        raise TypeError(f"a weight's gradient is a product with a named value, not {operand}")
    read = np.broadcast_to(
        seen[operand.name], (batch, shape[0] if term.turned else shape[1] * count)
    )
    sides = (read, adjoint) if term.turned else (adjoint, read)
    rows, columns = (side.reshape(batch, count, -1).swapaxes(0, 1) for side in sides)
    total: Array = rows.swapaxes(1, 2) @ columns
    return total.reshape(shape)


def _stack(
    cell: Cell, totals: Mapping[Weight, Array], weights: Mapping[Weight, Array]
) -> dict[str, Array]:
    """Gradients by family; a weight without any term has gradient zero."""
    gradients = {w: np.zeros_like(v) for w, v in weights.items()} | dict(totals)
    return stacked(cell, gradients)
