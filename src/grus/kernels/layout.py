"""What a training call keeps for its backward call, and where adjoints stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from grus.equations import Cell, expected
from grus.gradients import Backward, backward as derive
from grus.kernels.plan import ONE
from grus.kernels.steps import PLAIN, Steps, windows

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Layout:
    """Which values a training call keeps, and where the adjoints of backward stand."""

    derived: Backward
    saved: tuple[str, ...]
    """Kept beside the output, in the order of the saved block."""
    adjoints: tuple[str, ...]
    """Columns of the adjoint block: what weight gradients and dx are products of."""
    sums: tuple[str, ...]
    axes: dict[str, str]
    """The axis of each value that is kept, each adjoint and each sum."""

    def place(self, name: str, sizes: Mapping[str, int]) -> tuple[int, int]:
        """The first column of an adjoint in its block, and how many columns it has."""
        before = self.adjoints[: self.adjoints.index(name)]
        return sum(sizes[self.axes[n]] for n in before), sizes[self.axes[name]]

    def columns(self, sizes: Mapping[str, int]) -> int:
        """All columns of the adjoint block."""
        return sum(sizes[self.axes[n]] for n in self.adjoints)


@lru_cache(maxsize=256)
def layout(cell: Cell) -> Layout:
    """The layout of a cell's training call."""
    derived = derive(cell)
    saved = tuple(n for n in derived.saved if n != cell.output)
    wanted = [w for w in derived.weights if w.operand is not None]
    order = {weight: k for k, weight in enumerate(cell.weights)}
    wanted.sort(key=lambda w: order[w.weight])
    names = [w.adjoint for w in wanted]
    names += [name for _, terms in derived.inputs for _, name in terms]
    # By family, so that the gradient of a whole family is a stretch of the sums.
    vectors = [w for w in derived.weights if w.operand is None]
    vectors.sort(key=lambda w: (w.weight.family, order[w.weight]))
    sums = dict.fromkeys(w.adjoint for w in vectors)
    adjoints = tuple(dict.fromkeys(names))
    return Layout(derived, saved, adjoints, tuple(sums), _axes(cell, derived))


def _axes(cell: Cell, derived: Backward) -> dict[str, str]:
    """The axis of each name of both steps, as ``cell`` calls it."""
    axes = dict(cell.shapes.states)
    for step in (derived.forward, derived.cell):
        called = derived_axes(step, cell, backward=step is derived.cell)
        axes |= {n: called[axis] if axis else ONE for n, axis in step.shapes.values.items()}
    return axes


def derived_axes(step: Cell, cell: Cell, *, backward: bool) -> dict[str, str]:
    """The axes of the flat or the ``backward`` step of a cell, and what the cell calls them: each
    names its axes after its own output, and backward may tell two apart that are one."""
    known = {node.name: axis for node, axis in cell.shapes.inputs.items()}
    if backward:
        flat = derive(cell).forward
        called = derived_axes(flat, cell, backward=False)
        known |= {name: called[axis] for name, axis in flat.shapes.values.items() if axis}
        known |= cell.shapes.states | {"dy": str(cell.shapes.values[cell.output])}
    axes = {"input": "input"}
    for weight in step.weights:
        axes |= zip(step.shapes.weights[weight], cell.shapes.weights[weight], strict=True)
    for state, axis in cell.shapes.states.items():
        axes[step.shapes.states[f"d{state}" if backward else state]] = axis
    for node, axis in step.shapes.inputs.items():
        axes.setdefault(axis, known[node.name])
    return axes


def with_masks(cell: Cell, steps: Steps) -> Cell:
    """The cell as it runs: its masks drawn, or without a seed replaced by their means."""
    return expected(cell) if steps.seed is None else cell


def saved_size(
    cell: Cell, shape: tuple[int, ...], axes: Mapping[str, int], steps: Steps = PLAIN
) -> int:
    """How many numbers a training call keeps beside its output, for ``shape`` (time, batch, ...)
    and the size of each axis (`axis_sizes`)."""
    cell = with_masks(cell, steps)
    if steps.recompute:
        states = sum(axes[axis] for axis in cell.shapes.states.values())
        return len(windows(steps, shape[0])) * shape[1] * states
    valid = shape[0] * shape[1] if steps.lengths is None else int(steps.lengths.sum())
    kept = layout(cell)
    return valid * sum(axes[kept.axes[name]] for name in kept.saved)


def axis_sizes(
    cell: Cell, weights: Mapping[str, Array], states: tuple[Array, ...] = ()
) -> dict[str, int]:
    """The size of each axis that the weights have, and of a single number; axes that no weight has
    are as long as the ``states`` say, arrays of [batch, axis]."""
    sizes = {ONE: 1}
    for family, gates in cell.families.items():
        first, *rest = cell.family_axes(family)
        sizes[first] = weights[family].shape[0] // len(gates)
        wide = (cell.operand_size(family, columns) for columns in weights[family].shape[1:])
        sizes |= dict(zip(rest, wide, strict=True))
    for axis, state in zip(map(cell.shapes.states.get, cell.states), states, strict=False):
        sizes.setdefault(str(axis), state.shape[-1])
    return sizes


def output_size(cell: Cell, weights: Mapping[str, Array], states: tuple[Array, ...] = ()) -> int:
    """The length of the output's axis."""
    return axis_sizes(cell, weights, states)[str(cell.shapes.values[cell.output])]
