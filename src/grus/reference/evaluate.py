"""One step of a cell, evaluated equation by equation.

A vector is an array [..., axis]; a weight matrix is [rows, columns], so W @ v is ``v @ W.T``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from grus.equations import OPERATORS, Apply, Cell, Const, Expr, Name, State, Weight
from grus.equations.simplify import simplify
from grus.errors import InputError

Array = Any


@dataclass(frozen=True)
class Operations:
    """An array library as the evaluator sees it: operators by name, and what sequences need."""

    name: str
    table: Mapping[str, Callable[..., Array]]
    where: Callable[[Array, Array, Array], Array]
    stack: Callable[[list[Array]], Array]
    zeros_like: Callable[[Array], Array]


def table(library: Any) -> dict[str, Callable[..., Array]]:
    """The operators by name, over the module numpy or torch; those that read other positions are
    refused where there are none (`positions`)."""
    gathers = {name for name, op in OPERATORS.items() if op.kind == "gather"}
    known = {name: op.on(library) for name, op in OPERATORS.items() if name not in gathers}
    return known | {name: partial(_nowhere, name) for name in gathers}


def _nowhere(name: str, *args: Array) -> Array:
    del args
    raise InputError(f"{name} reads other positions: a layer with grid= or graph= knows of them")


NUMPY = Operations(
    name="numpy",
    table=table(np),
    where=np.where,
    stack=np.stack,
    zeros_like=np.zeros_like,
)


def split(cell: Cell, weights: Mapping[str, Array]) -> dict[Weight, Array]:
    """Cut stacked families into single weights, in the order of the equations.

    ``weights[family]`` is [gates * rows, columns] for matrices, [gates * axis] for vectors.
    Raises InputError when a family is missing, unknown, or does not divide into its gates.
    """
    if set(weights) != set(cell.families):
        raise InputError(
            f"cell {cell.name} has weight families {sorted(cell.families)}, got {sorted(weights)}"
        )
    single: dict[Weight, Array] = {}
    for family, gates in cell.families.items():
        stacked = weights[family]
        want = len(cell.family_axes(family))
        whole = len(stacked.shape) == want
        # torch.jit.trace has tensors for sizes
        rows, rest = divmod(int(stacked.shape[0]), len(gates)) if whole else (0, 1)
        if rest:
            raise InputError(
                f"{family} stacks {len(gates)} gates ({', '.join(gates)}) of a"
                f" {'matrix' if want == 2 else 'vector'}, got shape {tuple(stacked.shape)}"
            )
        for k, gate in enumerate(gates):
            single[Weight(family, gate)] = stacked[k * rows : (k + 1) * rows]
    return single


def evaluate(expr: Expr, values: Mapping[Expr, Array], ops: Operations = NUMPY) -> Array:
    """The value of an expression, given the values of its leaves."""
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, Apply):
        args = [evaluate(part, values, ops) for part in expr.args]
        if all(type(arg) is float for arg in args):  # array libraries need not take numbers
            return evaluate(simplify(Apply(expr.op, tuple(map(Const, args)))), values, ops)
        return ops.table[expr.op](*args)
    return values[expr]


def step_values(
    cell: Cell,
    weights: Mapping[Weight, Array],
    inputs: Mapping[str, Array],
    state: Sequence[Array],
    ops: Operations = NUMPY,
) -> dict[str, Array]:
    """All named values of one step. ``inputs`` has "x" [batch, input] and any masks by name."""
    values: dict[Expr, Array] = dict(weights.items())
    for node in cell.inputs:
        values[node] = inputs[node.name]
    for name, value in zip(cell.states, state, strict=True):
        values[State(name)] = value
    for name, expr in cell.equations:
        values[Name(name)] = evaluate(expr, values, ops)
    return {name: values[Name(name)] for name, _ in cell.equations}


def step(
    cell: Cell,
    weights: Mapping[Weight, Array],
    inputs: Mapping[str, Array],
    state: Sequence[Array],
    ops: Operations = NUMPY,
) -> tuple[Array, tuple[Array, ...]]:
    """One step: (output, next state)."""
    values = step_values(cell, weights, inputs, state, ops)
    return values[cell.output], tuple(values[name + "_next"] for name in cell.states)
