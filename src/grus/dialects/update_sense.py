"""The sense of the update gate, read off the equation of the next state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from grus.equations import Apply, Cell, Expr, Name, State


def sense(cell: Cell) -> tuple[str, Literal["keep", "admit"]] | None:
    """The gate that mixes old state and candidate, and what it does near 1.

    ``h_next = z * h + (1 - z) * n`` is ("z", "keep"), ``(1 - z) * h + z * n`` is ("z", "admit").
    None for a cell that has no such equation.
    """
    for state in cell.states:
        for kept, rest in _mixed(cell[f"{state}_next"], State(state)):
            for gate in (f for f in (kept, *rest) if isinstance(f, Name)):
                if kept == gate and 1 - gate in rest:
                    return gate.name, "keep"
                if kept == 1 - gate and gate in rest:
                    return gate.name, "admit"
    return None


def _mixed(expr: Expr, state: State) -> Iterator[tuple[Expr, tuple[Expr, ...]]]:
    """For ``a * state + b * c``, in any order: (a, (b, c)). Nothing for another expression."""
    if not isinstance(expr, Apply) or expr.op != "add":
        return
    left, right = expr.args
    for old, new in ((left, right), (right, left)):
        if isinstance(old, Apply) and isinstance(new, Apply) and old.op == new.op == "mul":
            one, other = old.args
            if state in (one, other):
                yield (one if other == state else other), new.args
