"""What a cell is checked for when it is built; every message names the equation at fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from keyword import iskeyword
from typing import TypeVar

from grus.equations.expr import Apply, CellError, Const, Expr, Input, Name, State, Weight, walk
from grus.equations.operators import OPERATORS, is_gather, numbers_after
from grus.equations.symbols import RESERVED

NEXT = "_next"
MAX_DEPTH = 200  # every later walk recurses, at most two Python frames a level
MAX_NODES = 10_000

Node = TypeVar("Node")


def check_size(root: Node, children: Callable[[Node], Iterable[Node]], slack: int = 1) -> None:
    """Refuse a tree that is too deep or too large to walk; itself it does not recurse.

    ``slack`` is how many nodes of this tree may stand for one node of an expression.
    """
    todo, seen = [(root, 1)], 0
    while todo:
        node, depth = todo.pop()
        seen += 1
        if depth >= MAX_DEPTH + slack or seen > MAX_NODES * slack:
            raise CellError(
                f"the expression is nested more than {MAX_DEPTH} deep or has more than"
                f" {MAX_NODES} parts; give its pieces names"
            )
        todo += [(child, depth + 1) for child in children(node)]


def check_equations(equations: Sequence[tuple[str, Expr]], states: Sequence[str]) -> None:
    """Names are new, plain and defined before use; leaves and numbers are what they can be."""
    if not states:
        raise CellError(f"no state: some equation must give a next value such as h{NEXT}")
    for state in states:
        if not _plain(state) or state in RESERVED:
            raise CellError(f"{state + NEXT!r} cannot be given a value: no state is {state!r}")
    known: set[str] = set()
    for name, expr in equations:
        if not _plain(name) or name in RESERVED - {"y"} or name in states:
            raise CellError(f"{name!r} cannot be given a value; a next state is {name}{NEXT}")
        if name in known:
            raise CellError(f"{name} is given a value twice")
        try:
            for node in walk(expr):
                _check_node(node, states, known)
        except CellError as error:
            raise CellError(f"in {name} = ...: {error}") from None
        known.add(name)
    _check_masks(node for _, expr in equations for node in walk(expr))


def check_used(equations: Sequence[tuple[str, Expr]], states: Sequence[str]) -> None:
    """Every equation has a part in a next state or in the output; ``h_before = h`` may have none,
    it says the states' order."""
    reached = reachable(dict(equations), {*(s + NEXT for s in states), "y"})
    unused = [n for n, e in equations if n not in reached and not isinstance(e, State)]
    if unused:
        names = ", ".join(unused)
        raise CellError(
            f"{names} {'is' if len(unused) == 1 else 'are'} never used: no next state and no"
            " output y reads it"
        )


def reachable(equations: Mapping[str, Expr], roots: Iterable[str]) -> set[str]:
    """The names of the roots and of all that they read."""
    found: set[str] = set()
    todo = [name for name in roots if name in equations]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [n.name for n in walk(equations[name]) if isinstance(n, Name)]
    return found


def _check_node(node: Expr, states: Sequence[str], known: set[str]) -> None:
    if isinstance(node, Name) and node.name not in known:
        raise CellError(unknown(node.name))
    if isinstance(node, State) and node.name not in states:
        raise CellError(f"state {node.name} has no next value: {node.name}{NEXT} is missing")
    if isinstance(node, Weight) and (
        not _plain(node.family) or not _plain(node.gate) or node.family in RESERVED
    ):
        raise CellError(f"no weight can be called {node.name}")
    if isinstance(node, Const) and not math.isfinite(node.value):
        raise CellError(f"{node.value} is not a finite number")
    if isinstance(node, Apply):
        _check_apply(node)


def _check_apply(node: Apply) -> None:
    op = OPERATORS.get(node.op)
    fewest, most = op.numbers if op else (0, 0)
    if op is None or not op.arity + fewest <= len(node.args) <= op.arity + most:
        raise CellError(f"unknown operator {node.op} of {len(node.args)} arguments")
    if op.kind in ("gather", "blocks"):
        _check_numbers(node)
    if node.op == "neg" and isinstance(node.args[0], Const):
        # -(2) and the number -2 print alike, so only one of them may exist.
        raise CellError("minus a number is written as a negative number")


def _check_numbers(node: Apply) -> None:
    numbers = numbers_after(node)
    if any(not isinstance(a, Const) or a.value != int(a.value) for a in node.args[1:]):
        raise CellError(f"{node}: {node.op} takes whole numbers after the vector")
    if node.op == "patches" and any(n < 1 or n % 2 == 0 for n in numbers):
        raise CellError(f"{node}: a window's sizes are odd, so that each position is in its middle")
    if node.op == "neighbours" and any(n < 1 for n in numbers):
        raise CellError(f"{node}: matrices are counted from 0, and 0 is left out")
    if node.op == "blocks" and any(n < 2 for n in numbers):
        raise CellError(f"{node}: there are two blocks or more")


def check_positions(nodes: Sequence[Expr]) -> None:
    """Gathers are of one kind, a line's, an image's or a graph's, and no mask stands beside."""
    gathers = [node for node in nodes if isinstance(node, Apply) and is_gather(node)]
    kinds = {(g.op, len(g.args) * (g.op == "patches")): g for g in gathers}
    if len(kinds) > 1:
        first, second, *_ = kinds.values()
        raise CellError(f"{first} and {second} do not go together: they read different positions")
    inputs = [str(n) for n in nodes if isinstance(n, Input) and n != Input("x")]
    if gathers and inputs:
        raise CellError(f"{inputs[0]}: a cell over positions takes no mask, and no input but x")


def _check_masks(nodes: Iterable[Expr]) -> None:
    seen: dict[str, Input] = {}
    for node in nodes:
        if isinstance(node, Input) and node != Input("x"):
            if not _plain(node.name) or node.name == "x":
                raise CellError(f"no mask can be called {node.per}.{node.name}")
            other = seen.setdefault(node.name, node)
            if other.per != node.per:
                raise CellError(f"{other.per}.{node.name} and {node.per}.{node.name} share a name")
            if other != node:
                raise CellError(f"mask {node.name} is drawn in two ways")
            if node.keep is not None and not (0 < node.keep <= 1 and math.isfinite(node.value)):
                raise CellError(
                    f"mask {node.name} is kept with a probability above 0 and at most 1,"
                    f" got {node.keep}"
                )


def unknown(name: str) -> str:
    """What is said of a name that stands for nothing yet."""
    return (
        f"{name} is used before it is given a value (a state has a next one, {name}{NEXT}; a mask"
        f" that is given at every step is step.{name})"
    )


def _plain(name: str) -> bool:
    return name.isidentifier() and not iskeyword(name)
