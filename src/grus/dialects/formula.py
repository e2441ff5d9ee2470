"""A formula as people write it, "h*z + (1-z)*n", completed to a cell."""

from __future__ import annotations

import ast

from grus.equations import OPERATORS, Cell
from grus.errors import InputError

CANDIDATES = ("n", "g", "c", "k", "hh", "ht", "h_hat", "h_tilde", "new")
"""Names of a candidate, which is a tanh; every other name that is not defined is a gate."""
NEXT = ("h", "h_next", "h_new", "h_t", "hn")
"""Left sides that mean the next state."""
LONGEST = 20_000


def formula(text: str) -> Cell:
    """The cell of a formula: one expression for the next state, or equations, one a line or
    divided by ";".

    A name that no line defines is completed: a candidate (n, g, ...) as tanh(W @ x + U @ h + b),
    every other as the sigmoid of that, with weights of its own. Nothing is executed.

    Raises InputError where it cannot be read.
    """
    if len(text) > LONGEST:
        raise InputError(f"a formula of {len(text)} characters; at most {LONGEST}")
    lines = [line.strip() for line in text.replace(";", "\n").splitlines() if line.strip()]
    pairs = [_pair(line, len(lines)) for line in lines]
    if not pairs:
        raise InputError("an empty formula")
    defined: set[str] = set()
    states = {"h", *(name.removesuffix("_next") for name, _ in pairs if name.endswith("_next"))}
    made: list[str] = []
    for name, right in pairs:
        for free in _names(right):
            if free not in defined | states | {"x"}:
                made.append(_completed(free))
                defined.add(free)
        made.append(f"{name} = {right}")
        defined.add(name)
    return Cell.parse("\n".join(made), "formula")


def _pair(line: str, lines: int) -> tuple[str, str]:
    """(name, right side); a single expression is the next state."""
    left, equals, right = line.partition("=")
    if not equals:
        if lines > 1:
            raise InputError(f"each of several lines defines a name; this does not: {line[:80]!r}")
        return "h_next", line
    name = left.strip().replace("'", "_next")
    return ("h_next" if name in NEXT else name), right.strip()


def _names(text: str) -> list[str]:
    """Bare names in order: not functions, and not the families of dotted weights."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"not an expression: {text[:80]!r}") from None
    owners = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in owners and node.id not in OPERATORS
    ]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    return list(dict.fromkeys(node.id for node in found))


def _completed(name: str) -> str:
    function = "tanh" if name in CANDIDATES else "sigmoid"
    return f"{name} = {function}(W.{name} @ x + U.{name} @ h + b.{name})"
