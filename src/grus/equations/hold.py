"""Behind `grus.hold`: gates or other values held at numbers, a cell like any other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from numbers import Real
from typing import Any

from grus.equations.cell import Cell
from grus.equations.checks import NEXT, reachable
from grus.equations.expr import Apply, CellError, Const, Expr, Name, State, walk
from grus.equations.simplify import simplify

Array = Any
Equations = dict[str, Expr]


def held_at(cell: Cell, values: Mapping[str, float]) -> Cell:
    """The cell with each named value held at a number: `hold`, for values in a mapping.

    The number is put into the equations and what it makes trivial goes: 1 * h is h, 0 * n is 0,
    equations that nothing reads any more are dropped, and so are their weights (`hold_weights`
    takes the ones that are left). What may be held are the gates and other named values; states and
    outputs are results. States keep their order and the output stays the same one. A next state
    that is a number k is written ``k + 0 * h``.

    The name says what is held: ``gru_r1_z0``. Raises CellError for a name that the cell has not,
    for a number that is not finite, and where nothing is left that could be a cell.
    """
    if not values:
        return cell
    given = {name: _checked(cell, name, value) for name, value in values.items()}
    checked = {name: given[name] for name, _ in cell.equations if name in given}
    said = ", ".join(f"{name} = {value:g}" for name, value in checked.items())
    try:
        equations = _read(cell, _put(cell, checked))
        name = "_".join([cell.name, *(f"{n}{_spelled(v)}" for n, v in checked.items())])
        held = Cell(name, tuple(equations.items()), f"{cell.doc} Held: {said}.".strip())
        _check_axes(cell, held)
        return held
    except CellError as error:
        raise CellError(f"cell {cell.name} with {said}: {error}") from None


def hold_weights(cell: Cell, held: Cell, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights of a held cell, stacked by family, from those of the whole cell.

    ``weights[family]`` is [gates * rows, columns] or [gates * axis], of NumPy, torch or any other
    library whose arrays reshape and take a list of indices. Copies, in the order of the held cell.

    Raises CellError where ``weights`` are not the cell's families or do not divide into its gates.
    """
    if set(weights) != set(cell.families):
        raise CellError(
            f"cell {cell.name} has weight families {sorted(cell.families)}, got {sorted(weights)}"
        )
    found = {}
    for family, gates in held.families.items():
        whole, stacked = cell.families[family], weights[family]
        shape = tuple(stacked.shape)
        if not shape or shape[0] % len(whole):
            raise CellError(f"{family} stacks {len(whole)} gates, got shape {shape}")
        by_gate = stacked.reshape(len(whole), shape[0] // len(whole), *shape[1:])
        chosen = by_gate[[whole.index(gate) for gate in gates]]
        found[family] = chosen.reshape(-1, *shape[1:])
    return found


def read_values(text: str) -> dict[str, float]:
    """``"r=1, z=0"`` as ``{"r": 1.0, "z": 0.0}``. Raises CellError for anything else."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.isidentifier():
            raise CellError(f"what is held is written r=1,z=0, got {text[:60]!r}")
        if name in found:
            raise CellError(f"{name} is held twice in {text[:60]!r}")
        found[name] = value
    return found


def _checked(cell: Cell, name: str, value: object) -> float:
    outputs = (*(s + NEXT for s in cell.states), "y")
    known = [given for given, _ in cell.equations if given not in outputs]
    if name not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        what = " (a state or an output is a result)" if name in (*cell.states, *outputs) else ""
        raise CellError(f"cell {cell.name} has no value {name[:60]!r} to hold{what}; {has}")
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise CellError(f"{name} can be held at a finite number, not at {value!r}")
    return float(value)


def _put(cell: Cell, values: Mapping[str, float]) -> Equations:
    """All equations with the numbers in them; what becomes a number or a copy is put in, too."""
    known: dict[Expr, Expr] = {Name(name): Const(value) for name, value in values.items()}
    results = {*(s + NEXT for s in cell.states), "y"}
    found: Equations = {}
    for name, expr in cell.equations:
        if name in values:
            continue
        made = simplify(_with(expr, known))
        copied = isinstance(made, (Name, State)) and made != expr and name not in results
        if isinstance(made, Const) or copied:
            known[Name(name)] = made
        if isinstance(made, Const) and name in results:
            found[name] = _vector(cell, name, made)
        elif Name(name) not in known:
            found[name] = made
    return found


def _with(expr: Expr, known: Mapping[Expr, Expr]) -> Expr:
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(_with(arg, known) for arg in expr.args))
    return known.get(expr, expr)


def _vector(cell: Cell, name: str, number: Const) -> Expr:
    """A result that is one number, as a vector: ``k + 0 * h``, over the states of its axis."""
    axis = cell.shapes.values[name]
    states = [s for s, given in cell.shapes.states.items() if given == axis]
    if not states:
        raise CellError(f"{name} is the number {number.value:g}, and no state has its axis")
    states.sort(key=lambda s: s + NEXT != name)
    total: Expr = number
    for state in states:
        total = total + 0 * State(state)
    return _without_zero(total)


def _without_zero(total: Expr) -> Expr:
    """0 + v is v; the products with 0 stay, they say which axis the number has."""
    if isinstance(total, Apply) and total.op == "add":
        left, right = _without_zero(total.args[0]), total.args[1]
        return right if left == Const(0) else left + right
    return total


def _read(cell: Cell, equations: Equations) -> Equations:
    """Without the equations that were read before and are no more; states in their old order."""
    results = {*(s + NEXT for s in cell.states), "y"}
    before = reachable(dict(cell.equations), results)
    roots = results | {name for name in equations if name not in before}
    now = reachable(equations, roots)
    left = {name: expr for name, expr in equations.items() if name in now}
    order = dict.fromkeys(
        node.name for expr in left.values() for node in walk(expr) if isinstance(node, State)
    )
    missing = [s for s in cell.states if s not in order]
    if (*order, *missing) == cell.states:
        return left
    # What reads the states first gives them their order, and the output to a cell without y.
    return {f"{s}_before": State(s) for s in cell.states if f"{s}_before" not in left} | left


def _check_axes(cell: Cell, held: Cell) -> None:
    """States of one axis must stay so: nothing else says that their sizes are equal."""
    old, new = cell.shapes.states, held.shapes.states
    for one, other in product(cell.states, repeat=2):
        if (old[one] == old[other]) != (new[one] == new[other]):
            raise CellError(f"nothing is left that gives {one} and {other} their axes")


def _spelled(value: float) -> str:
    """A number as part of a name: 1, 0_5, minus1."""
    text = f"{value:g}".replace("-", "minus").replace("+", "")
    return text.replace(".", "_")
