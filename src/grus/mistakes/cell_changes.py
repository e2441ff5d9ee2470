"""What a mistake changes in the equations: one tree made of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

from grus.dialects import USUAL, Activation, Factored, activated, factor, sense
from grus.equations import CELLS, Apply, Cell, CellError, Expr, Input, Name, State, Weight, text

FRESH = Input("fresh_mask")
"""A cell that reads this itself is told there where an episode begins (0), and nowhere else."""
CellChange = Callable[[Cell], Cell]


def rewritten(expr: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """The expression with each part for which ``change`` has another exchanged, the largest
    first; None keeps a part."""
    other = change(expr)
    if other is None and isinstance(expr, Apply):
        return Apply(expr.op, tuple(rewritten(part, change) for part in expr.args))
    return expr if other is None else other


def replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with ``new`` wherever ``old`` stands."""
    return rewritten(expr, lambda part: new if part == old else None)


def late_reset(cell: Cell) -> Cell:
    """The reset gate of the step before."""
    lines = [(n, replaced(e, Name("r"), State("q"))) for n, e in cell.equations]
    return Cell(cell.name, (*lines, ("q_next", Name("r"))))


def reset_of_all(cell: Cell) -> Cell:
    """The reset gate multiplies the whole candidate, W x and b too."""
    gates = (Name("r"), State("q"))

    def whole(expr: Expr) -> Expr | None:
        """The first sum that holds a product with the gate, multiplied by it."""
        for gate in gates if isinstance(expr, Apply) and expr.op == "add" else ():
            bare = rewritten(expr, partial(_other_factor, gate=gate))
            if bare != expr:
                return gate * bare
        return None

    return Cell(cell.name, tuple((name, rewritten(e, whole)) for name, e in cell.equations))


def _other_factor(expr: Expr, gate: Expr) -> Expr | None:
    """What ``gate`` multiplies where the expression is such a product."""
    if isinstance(expr, Apply) and expr.op == "mul" and gate in expr.args:
        return expr.args[1] if expr.args[0] == gate else expr.args[0]
    return None


def episode_reset(products: bool) -> CellChange:
    """Where a new episode's zero state arrives: in the products alone, or in z * h alone."""

    def change(cell: Cell) -> Cell:
        lines: list[tuple[str, Expr]] = [("fresh", FRESH * State("h"))]
        for name, expr in cell.equations:
            there = (name != "h_next") == products
            lines.append((name, replaced(expr, State("h"), Name("fresh")) if there else expr))
        return Cell(cell.name, tuple(lines))

    return change


# Another cell over the same weights.


def relatives(cell: Cell) -> Iterator[tuple[tuple[str, ...], Cell]]:
    """The package's other cells over the same gates, with this cell's activations; each with the
    names of what it does otherwise."""
    apart = Factored(cell, USUAL) if cell in CELLS.values() else factor(cell)
    base = apart.base if apart else cell
    for other in CELLS.values():
        same = other.families.get("W") == base.families.get("W") and other.states == base.states
        if same and other != base and _but_inner(other) == _but_inner(base):
            names = _differences(base, other)
            yield names, Factored(other, apart.activations).cell if apart else other


def _but_inner(cell: Cell) -> set[Weight]:
    """The cell's weights but inner biases, which another cell adds to the others."""
    return {weight for weight in cell.weights if weight.family != "d"}


def _differences(cell: Cell, other: Cell) -> tuple[str, ...]:
    before, after = sense(cell), sense(other)
    if before is None or after is None:
        return (f"the equations of {other.name}",)
    places = [any(name == "m" for name, _ in one) for one in (cell, other)]
    found = []
    if places[0] != places[1]:
        found.append(f"the reset {'after' if places[1] else 'before'} the product")
    if before != after:
        mixed = text.show(other[f"{other.states[0]}_next"])
        found.append(f"{before[0]} the other way round: {mixed}")
    return tuple(found)


def relative(name: str) -> CellChange:
    """The other cell that differs in this one thing. Raises CellError where there is none."""

    @lru_cache(maxsize=64)
    def change(cell: Cell) -> Cell:
        for names, other in relatives(cell):
            if names == (name,):
                return other
        raise CellError(f"cell {cell.name} has no relative with {name}")

    return change


# Activations.

EXCHANGED = {"sigmoid": "tanh", "tanh": "sigmoid", "relu": "tanh"}
HARD = (Activation("hard_sigmoid"), Activation("hard_sigmoid", 1 / 6, 0.5))
"""Keras 2's 0.2 x + 0.5, and the x / 6 + 0.5 of Keras 3 and PyTorch."""


def every_gate(activation: Activation | str) -> tuple[str, CellChange]:
    """The name of another activation in every gate, and the change."""
    if str(activation) == "linear":
        name = "sigmoid left out of every gate"
    else:
        name = f"{activation} for sigmoid in every gate"
    return name, lambda cell: activated(cell, activation) if _has(cell, "sigmoid") else cell


def one_equation(where: str, op: str, other: str | None) -> tuple[str, CellChange]:
    """The name of one equation's function left out (None) or exchanged, and the change."""
    said = f"{op} left out of" if other is None else f"{other} for {op} in"
    name = f"{said} {where.removesuffix('_next')}"

    def exchange(expr: Expr) -> Expr:
        if not isinstance(expr, Apply):
            return expr
        args = tuple(map(exchange, expr.args))
        if expr.op != op:
            return Apply(expr.op, args)
        return args[0] if other is None else Activation(other)(args[0])

    @lru_cache(maxsize=64)
    def change(cell: Cell) -> Cell:
        lines = tuple((n, exchange(e) if n == where else e) for n, e in cell.equations)
        return Cell(cell.name, lines)

    return name, change


def activation_slips(cell: Cell) -> Iterator[tuple[str, CellChange]]:
    """Every function of the cell left out of its equation, or exchanged, and other gates."""
    known = {cell}
    singles = (
        one_equation(where, op, new)
        for where, _ in cell.equations
        for op, other in EXCHANGED.items()
        for new in (None, other)
    )
    gates = (every_gate(one) for one in (Activation("linear"), *HARD))
    for name, change in (*singles, *gates):
        changed = change(cell)
        if changed not in known:
            known.add(changed)
            yield name, change


def _has(cell: Cell, op: str) -> bool:
    return any(isinstance(node, Apply) and node.op == op for node in cell.nodes)
