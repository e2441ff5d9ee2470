"""`grus.equivalent`: are two cells one function of other weights? The map, or a counterexample.
Also a formula as people write it, "h*z + (1-z)*n", completed to a cell.

All maps of `maps` are tried on random numbers in float64, simplest first; the equations are
analytic but for a few corners, so what agrees there to the last places agrees everywhere.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects.dialect import Dialect
from grus.dialects.maps import Search, Side, WeightMap, sizes_for
from grus.dialects.records import DIALECTS, called, find
from grus.equations import OPERATORS, Cell, cell as find_cell, held, named
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


Array = Any


@dataclass(frozen=True)
class Counterexample:
    """Numbers for which the best of all maps gives two results."""

    source: str
    target: str
    numbers: tuple[tuple[str, str], ...]
    """Name and value of each weight, of x and of the states."""
    first: tuple[float, ...]
    second: tuple[float, ...]
    map: WeightMap
    """The map that comes nearest."""

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.numbers)
        given = [f"  {name:<{width}} = {value}" for name, value in self.numbers]
        return "\n".join(
            [
                "counterexample:",
                *given,
                f"  {self.source} gives {_vector(self.first)}",
                f"  {self.target} gives {_vector(self.second)}, with the weights that come nearest",
                *(f"    {line}" for line in self.map.lines),
            ]
        )


@dataclass(frozen=True)
class Equivalence:
    """Whether two cells are one function of other weights. True where they are, both ways."""

    a: str
    b: str
    to_b: WeightMap | None
    """The weights of b from those of a; None where there is no such map."""
    to_a: WeightMap | None
    counterexample: Counterexample | None
    tried: int
    """How many maps were tried where none fits."""

    def __bool__(self) -> bool:
        return self.to_b is not None and self.to_a is not None

    def __str__(self) -> str:
        if self:
            assert self.to_b is not None
            head = f"{self.a} and {self.b} are one function; weights of the second from the first:"
            checked = f"tried on random numbers: largest difference {self.to_b.difference:.1g}"
            return "\n".join([head, *(f"  {x}" for x in str(self.to_b).splitlines()), checked])
        if self.to_b is None and self.to_a is None:
            head = f"{self.a} and {self.b} are two functions: of {self.tried} maps none fits"
        else:
            small, large = (self.a, self.b) if self.to_b else (self.b, self.a)
            fits = self.to_b or self.to_a
            head = f"every {small} is a {large}, but not the other way round:\n" + "\n".join(
                f"  {line}" for line in str(fits).splitlines()
            )
        return f"{head}\n{self.counterexample}"


def equivalent(a: str | Cell | Dialect, b: str | Cell | Dialect) -> Equivalence:
    """Are ``a`` and ``b`` the same function, but for a renaming of weights?

    Each is a cell, the name of one or of a dialect (``"haiku"``: then its missing biases count),
    or a formula: ``"h*z + (1-z)*n"``, or several equations divided by ";". Names that a formula
    does not define are completed as gates and candidates with weights of their own.

    The result is true where there are exact maps of the weights both ways; else it holds a
    counterexample. States are compared as they are: a cell whose state is another's times a
    number is another function here. Raises InputError for what is neither a name nor a formula.
    """
    one, other = _side(a), _side(b)
    if len(one.cell.states) != len(other.cell.states):
        raise InputError(
            f"{one.label} has {len(one.cell.states)} states, {other.label}"
            f" {len(other.cell.states)}: there is nothing to compare"
        )
    for side in (one, other):
        if not side.cell.weights:
            raise InputError(f"{side.label} has no weights: there is nothing to map")
        if max(side.cell.shapes.blocks.values(), default=1) > 1:
            raise InputError(f"{side.label} has block-diagonal weights, which no map is tried for")
    forth, back = Search(one, other), Search(other, one)
    to_b, to_a = forth.found(), back.found()
    example = None
    if to_b is None:
        example = _counterexample(forth)
    elif to_a is None:
        example = _counterexample(back)
    return Equivalence(one.label, other.label, to_b, to_a, example, forth.tried + back.tried)


def _side(spec: str | Cell | Dialect) -> Side:
    if isinstance(spec, Cell):
        return Side(spec.name, spec)
    if isinstance(spec, Dialect):
        absent = {w for w in spec.cell.weights if spec.tensors and w not in spec.blocks}
        return Side(spec.name, spec.cell, frozenset(absent))
    if not isinstance(spec, str):
        raise InputError(f"a cell, a dialect's name or a formula, not {type(spec).__name__}")
    if spec and any(called(spec) in (one.framework, one.named) for one in DIALECTS):
        return _side(find(spec))
    name = held(spec)[0]
    if named(name) or ".py:" in name:
        return Side(spec, find_cell(spec))
    if spec.isidentifier():
        raise InputError(
            f"{spec[:60]!r} is no cell, no dialect and no formula; `grus dialects` lists them"
        )
    return Side(" ".join(spec.split()), formula(spec))


def _counterexample(search: Search) -> Counterexample | None:
    """Numbers of one decimal for which the best map gives another result."""
    if search.best is None:
        return None
    nearest = search.best[2]
    search.sizes = sizes_for((search.source.cell, search.target.cell), 1, 2)
    rng = np.random.default_rng(1)
    search.single = {w: _plain(a) for w, a in search.weights(rng).items()}
    inputs, state = search.example(rng, 1)
    search.inputs = {name: _plain(a) for name, a in inputs.items()}
    search.state = tuple(map(_plain, state))
    cell = search.source.cell
    first = search.run(cell, search.single)[0]
    second = search.run(search.target.cell, nearest(search.single))[0]
    numbers = {w.name: a for w, a in search.single.items()}
    numbers |= {name: a[0] for name, a in search.inputs.items()}
    numbers |= {name: s[0] for name, s in zip(cell.states, search.state, strict=True)}
    width = search.sizes[str(cell.shapes.values[cell.output])]
    return Counterexample(
        search.source.label,
        search.target.label,
        tuple((name, _said(a)) for name, a in numbers.items()),
        tuple(map(float, first[:width])),
        tuple(map(float, second[:width])),
        nearest,
    )


def _plain(array: Array) -> Array:
    """Numbers of one decimal; none becomes 0 that was not."""
    return np.sign(array) * np.maximum(np.round(np.abs(array), 1), 0.1)


def _said(array: Array) -> str:
    """Rows in brackets, on one line."""
    if array.ndim > 1:
        return f"[{', '.join(map(_said, array))}]"
    return _vector(tuple(map(float, array)))


def _vector(values: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{v:.6g}' for v in values)}]"
