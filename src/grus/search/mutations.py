"""Cells near other cells: one random change of the equations at a time, each valid by itself.

The moves are those of Jozefowicz, Zaremba and Sutskever (An empirical exploration of recurrent
network architectures, ICML 2015): a function becomes another, an operator another, a node is put
in, left out, or read in the place of another; one more brings in a gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import numpy as np

from grus.equations import (
    CELLS,
    Apply,
    Cell,
    CellError,
    Expr,
    Input,
    Name,
    State,
    Weight,
    linear,
    sigmoid,
    x,
)
from grus.kernels import UnsupportedCellError, make_plan
from grus.reference import run

SEEDS = {name: CELLS[name] for name in ("gru", "gru_reset_before", "lstm", "rnn")}
"""The cells that a search begins with."""
FUNCTIONS = ("sigmoid", "tanh", "relu")
OPERATORS = ("add", "sub", "mul", "minimum", "maximum")
LONGEST, LARGEST = 10, 80
"""Equations and nodes of a cell; what grows beyond them is too slow to be of use."""
TRIES = 1000
MOVES = 3
"""At most so many changes from one cell to the next."""

Path = tuple[int, ...]
Move = Callable[[Expr, "list[Expr]", Random], Expr | None]
"""(node, what may be read there, dice) -> what comes in its place; None where it does not apply."""


def _function(node: Expr, _: list[Expr], draw: Random) -> Expr | None:
    """Another function, or none: the argument itself."""
    if not isinstance(node, Apply) or node.op not in FUNCTIONS:
        return None
    other = draw.choice([*(name for name in FUNCTIONS if name != node.op), ""])
    return Apply(other, node.args) if other else node.args[0]


def _operator(node: Expr, _: list[Expr], draw: Random) -> Expr | None:
    if not isinstance(node, Apply) or node.op not in OPERATORS:
        return None
    return Apply(draw.choice([name for name in OPERATORS if name != node.op]), node.args)


def _wrap(node: Expr, _: list[Expr], draw: Random) -> Expr | None:
    return Apply(draw.choice(FUNCTIONS), (node,))


def _leave_out(node: Expr, _: list[Expr], draw: Random) -> Expr | None:
    if not isinstance(node, Apply) or linear(node) is not None:
        return None
    return draw.choice(node.args)


def _read_another(node: Expr, known: list[Expr], draw: Random) -> Expr | None:
    others = [value for value in known if value != node]
    return draw.choice(others) if isinstance(node, (Name, State)) and others else None


def _bring_in(node: Expr, known: list[Expr], draw: Random) -> Expr | None:
    return Apply(draw.choice(OPERATORS), (node, draw.choice(known)))


MOVES_OF_A_NODE: tuple[Move, ...] = (
    _function,
    _operator,
    _wrap,
    _leave_out,
    _read_another,
    _bring_in,
)


def mutate(cell: Cell, draw: Random) -> Cell:
    """The cell after one random change; valid, but not always `sound`.

    Raises RuntimeError where no change of a thousand was valid, which a cell of the table never
    met.
    """
    for _ in range(TRIES):
        try:
            changed = draw.choice((_changed, _changed, _changed, _gated))(cell, draw)
            if changed is not None and changed != cell and _fits(changed):
                return changed
        except (CellError, UnsupportedCellError):
            continue
    raise RuntimeError(f"no change of {cell.name} is a cell")


def mutated(cell: Cell, draw: Random) -> Cell:
    """The cell after one to three changes, `sound`."""
    while True:
        changed = cell
        for _ in range(draw.randint(1, MOVES)):
            changed = mutate(changed, draw)
        if changed != cell and sound(changed):
            return changed


def _changed(cell: Cell, draw: Random) -> Cell | None:
    """One node of one equation replaced."""
    k = draw.randrange(len(cell))
    name, expr = cell.equations[k]
    path = draw.choice(list(_paths(expr)))
    known = [*map(State, cell.states), *(Name(earlier) for earlier, _ in cell.equations[:k])]
    instead = draw.choice(MOVES_OF_A_NODE)(_at(expr, path), known, draw)
    if instead is None:
        return None
    equations = [*cell.equations]
    equations[k] = (name, _replaced(expr, path, instead))
    return Cell("searched", tuple(equations), unused=False)


def _gated(cell: Cell, draw: Random) -> Cell | None:
    """A new gate before one equation, and a node of that multiplied by it."""
    k = draw.randrange(len(cell))
    name, expr = cell.equations[k]
    taken = {gate for gates in cell.families.values() for gate in gates} | {n for n, _ in cell}
    gate = next(f"g{n}" for n in range(1, 100) if f"g{n}" not in taken)
    state = State(cell.states[0])
    value = sigmoid(Weight("W", gate) @ x + Weight("U", gate) @ state + Weight("b", gate))
    path = draw.choice(list(_paths(expr)))
    equations = [*cell.equations]
    equations[k : k + 1] = [
        (gate, value),
        (name, _replaced(expr, path, Name(gate) * _at(expr, path))),
    ]
    return Cell("searched", tuple(equations), unused=False)


def _fits(cell: Cell) -> bool:
    """Whether a cell is small, has one size of everything but the input, and kernels."""
    if len(cell) > LONGEST or len(cell.nodes) > LARGEST or cell.shapes.equal:
        return False
    axes = {*cell.shapes.values.values(), *cell.shapes.states.values()}
    make_plan(cell)
    return axes == {"hidden"} and Input("x") in cell.inputs


def _paths(expr: Expr, path: Path = ()) -> Iterator[Path]:
    """The ways to the nodes that are vectors of units: not to a matrix or to the input."""
    if not path or not isinstance(expr, (Weight, Input)):
        yield path
    if isinstance(expr, Apply):
        for k, part in enumerate(expr.args):
            yield from _paths(part, (*path, k))


def _at(expr: Expr, path: Path) -> Expr:
    for k in path:
        assert isinstance(expr, Apply)
        expr = expr.args[k]
    return expr


def _replaced(expr: Expr, path: Path, instead: Expr) -> Expr:
    if not path:
        return instead
    assert isinstance(expr, Apply)
    args = [*expr.args]
    args[path[0]] = _replaced(args[path[0]], path[1:], instead)
    return Apply(expr.op, tuple(args))


TOO_LARGE = 1e6
LONG, SHORT, ROWS, INPUTS, UNITS = 60, 5, 2, 3, 4


def sound(cell: Cell) -> bool:
    """Whether numbers stay below a million for some steps, and the first input matters later."""
    rng = np.random.default_rng(0)
    size = {"hidden": UNITS, "input": INPUTS}
    weights = {
        family: rng.uniform(-0.5, 0.5, cell.family_shape(family, size)) for family in cell.families
    }
    inputs = rng.normal(size=(LONG, ROWS, INPUTS))
    other = inputs.copy()
    other[0] += 1
    with np.errstate(all="ignore"):
        ends = [run(cell, weights, x[:SHORT]).output[-1] for x in (inputs, other)]
        last = run(cell, weights, inputs).output[-1]
    return bool((np.abs(last) < TOO_LARGE).all() and (np.abs(ends[0] - ends[1]) > 1e-9).any())
