"""Known slips of a hand calculation: what is done wrong, and the calculation that it makes.

A slip changes one thing. The table has those that are made once the weights are read; reading
them wrongly (the gates in another order, a bias left out) is up to whoever reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from grus.dialects.activation import Activation, activated
from grus.dialects.update_sense import sense
from grus.equations import CELLS, Apply, Cell, Expr
from grus.reference import run

Array = Any


@dataclass(frozen=True, eq=False)
class Calculation:
    """A cell worked out over one sequence."""

    cell: Cell
    weights: Mapping[str, Array]
    """By family, stacked in the order of the equations."""
    x: Array
    """[time, input]."""
    h0: tuple[Array, ...] | None = None
    """Each [hidden]; None: zeros."""

    def final(self) -> Array:
        """The first state after the last step, [hidden], in float64."""
        start = None if self.h0 is None else tuple(h[None] for h in self.h0)
        with np.errstate(over="ignore", invalid="ignore"):  # what is wrong may overflow
            return run(self.cell, self.weights, self.x[:, None], start).state[0][0]


Made = Iterator[tuple[str, Calculation]]


def another_cell(right: Calculation) -> Made:
    """The package's other cells of the same gates: another place of the reset, another sense."""
    for sister in sisters(right.cell):
        doc = (sister.doc[:1].lower() + sister.doc[1:]).partition(" (")[0].rstrip(".")
        weights = as_sister(sister, right.cell, right.weights)
        yield f"{sister.name}: {doc}", replace(right, cell=sister, weights=weights)


def another_term(right: Calculation) -> Made:
    """Of the other cells those that differ in one thing, and what that is."""
    own = sense(right.cell)
    for sister in sisters(right.cell):
        other, weights = sense(sister), as_sister(sister, right.cell, right.weights)
        changed = replace(right, cell=sister, weights=weights)
        if own is None or other is None:
            yield f"the equations of {sister.name}", changed
        elif own != other and _place(sister) == _place(right.cell):
            gate = own[0]
            mixed = "z * h + (1 - z) * n" if other[1] == "keep" else "(1 - z) * h + z * n"
            yield f"{gate} the other way round: {mixed.replace('z', gate)}", changed
        elif own == other:
            where = "after" if _place(sister) else "before"
            yield f"the reset {where} the product", changed


def transposed(right: Calculation) -> Made:
    """Square blocks the other way round."""
    for family, what in (("U", "U.T @ h for U @ h"), ("W", "W.T @ x for W @ x")):
        flipped = _flipped(right.cell, family, right.weights)
        if flipped is not None:
            yield (
                f"each block of {family} transposed ({what})",
                replace(right, weights=flipped),
            )


def one_step(right: Calculation) -> Made:
    """The sequence not taken as a sequence."""
    if len(right.x) > 1:
        last = replace(right, x=right.x[-1:])
        yield "the last x alone: the state not carried from step to step", last
    if len(right.x) > 1 and right.x.shape[1] == 1:
        added = replace(right, x=right.x.sum(0, keepdims=True))
        yield "all of x added up and taken as one step", added


def backward(right: Calculation) -> Made:
    """The wrong end of the sequence, or of the state."""
    if len(right.x) > 1:
        yield "x from the last step to the first", replace(right, x=right.x[::-1])
    if right.h0 is not None and any(np.any(h) for h in right.h0):
        yield "h0 forgotten", replace(right, h0=None)


def activations(right: Calculation) -> Made:
    """A function left out of an equation, or another in its place."""
    for name, cell in _activations(right.cell):
        yield name, replace(right, cell=cell)


Slip = Callable[[Calculation], Made]
SLIPS: tuple[Slip, ...] = (another_term, activations, transposed, one_step, backward)
USED = {"sigmoid": "tanh", "tanh": "sigmoid", "relu": "tanh"}


@lru_cache(maxsize=1024)
def _activations(cell: Cell) -> tuple[tuple[str, Cell], ...]:
    found: dict[Cell, str] = {}
    for name, expr in cell.equations:
        for op, other in USED.items():
            for new, said in ((None, f"{op} left out of"), (other, f"{other} for {op} in")):
                changed = _exchanged(expr, op, new)
                if changed != expr:
                    equations = tuple((n, changed if n == name else e) for n, e in cell.equations)
                    where = name.removesuffix("_next")
                    found.setdefault(Cell(cell.name, equations), f"{said} {where}")
    for activation in (
        Activation("linear"), Activation("hard_sigmoid"), Activation("hard_sigmoid", 1 / 6, 0.5)
    ):  # fmt: skip
        gated = activated(cell, activation) if _has(cell, "sigmoid") else cell
        said = "sigmoid left out of every gate"
        if activation.name != "linear":
            said = f"{activation} for sigmoid in every gate"
        found.setdefault(gated, said)
    return tuple((said, other) for other, said in found.items() if other != cell)


def _has(cell: Cell, op: str) -> bool:
    return any(isinstance(node, Apply) and node.op == op for node in cell.nodes)


def _exchanged(expr: Expr, op: str, new: str | None) -> Expr:
    """The expression with one function for another, or none for it."""
    if not isinstance(expr, Apply):
        return expr
    args = tuple(_exchanged(arg, op, new) for arg in expr.args)
    if expr.op != op:
        return Apply(expr.op, args)
    return args[0] if new is None else Apply(new, args)


def _place(cell: Cell) -> bool:
    """True where the reset comes after the product: the product has a name of its own."""
    return any(name == "m" for name, _ in cell.equations)


def sisters(cell: Cell) -> Iterator[Cell]:
    """The package's other cells with the same gates, so the same numbers."""
    for other in CELLS.values():
        same = other.families.get("W") == cell.families.get("W") and other.states == cell.states
        if same and other != cell and set(other.families) | {"d"} == set(cell.families) | {"d"}:
            yield other


def as_sister(sister: Cell, cell: Cell, weights: Mapping[str, Array]) -> Mapping[str, Array]:
    """The weights as the sister takes them: an inner bias it has not is an outer one."""
    found = {family: weights[family] for family in sister.families if family in weights}
    if "d" in sister.families and "d" not in weights:
        return found | {"d": np.zeros(len(weights["b"]) // len(cell.families["b"]))}
    if "d" in weights and "d" not in sister.families:
        parts = np.split(weights["b"], len(cell.families["b"]))
        at = cell.families["b"].index(cell.families["d"][0])
        parts[at] = parts[at] + weights["d"]
        return found | {"b": np.concatenate(parts)}
    return found


def _flipped(cell: Cell, family: str, weights: Mapping[str, Array]) -> Mapping[str, Array] | None:
    """The weights with each block of a family transposed; None where that cannot be mistaken."""
    blocks = np.split(weights[family], len(cell.families[family])) if family in weights else []
    if not blocks or blocks[0].shape[0] != blocks[0].shape[1] or len(blocks[0]) == 1:
        return None
    return {**weights, family: np.concatenate([block.T for block in blocks])}
