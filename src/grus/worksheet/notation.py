"""A network in a dialect's notation: its letters, its order of gates, its sense of z.

The function stays the same: `dialects.transform.fit` finds the weights of the dialect's own cell,
or refuses. Only the spelling is added here: gates take the dialect's letters and its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects import DIALECTS, Dialect, Network, Unrepresentable, find
from grus.dialects.transform import OtherKind, fit
from grus.equations import Apply, Cell, Expr, Name, Weight, walk
from grus.equations.symbols import RESERVED
from grus.reference import split

Array = Any
MARKS = {"~": "_tilde", "^": "_hat"}
"""Signs over a letter, as they are written behind it -> what a name can hold."""


@dataclass(frozen=True, eq=False)
class Notation:
    """A cell as a dialect writes it."""

    cell: Cell
    """The cell in its letters and order."""
    gates: Mapping[str, str]
    """Gate of a weight in house letters -> theirs: ``W.n`` is ``W.h`` in Keras."""
    values: Mapping[str, str]
    """Value in house letters -> theirs, where it differs: ``n`` is ``h_tilde`` in Keras."""


@dataclass(frozen=True, eq=False)
class Spoken:
    """A network in a dialect's notation: the same function, to rounding."""

    dialect: Dialect
    """The record that was taken, with the activations that must be set there."""
    network: Network
    """Cell and weights in the notation."""
    notation: Notation
    notes: tuple[str, ...]
    """Values negated, scaled or set, in our own letters; () where only names and order differ."""

    @property
    def cell(self) -> Cell:
        """The dialect's cell: letters, order and sense are its own."""
        return self.network.cell

    @property
    def weights(self) -> dict[str, Array]:
        """The weights of the first layer, forward, by family in the order of `cell`."""
        return dict(self.network.layers[0][0])

    def state(self, states: Sequence[Array], source: Cell) -> tuple[Array, ...]:
        """States of the cell ``source`` in the order of `cell`; their names never change."""
        by_name = dict(zip(source.states, states, strict=True))
        return tuple(by_name[name] for name in self.cell.states)


def spoken(network: Network | tuple[Cell, Mapping[str, Array]], dialect: str | Dialect) -> Spoken:
    """A network, or a cell with the weights of one layer by family, in the notation of ``dialect``.

    Of a framework with several cells the record of this very cell is taken, else the first that
    can hold the function. Raises `Unrepresentable` naming the term that has no place, InputError
    for a name that is no dialect's.
    """
    if not isinstance(network, Network):
        network = _network(*network, dialect)
    refused: list[Unrepresentable] = []
    for record in sorted(_records(dialect), key=lambda d: d.cell != network.cell):
        try:
            fitted = fit(network, record)
        except Unrepresentable as error:
            refused.append(error)
            continue
        letters = notation(fitted.dialect)
        return Spoken(fitted.dialect, _restacked(fitted.network, letters), letters, fitted.notes)
    raise next((error for error in refused if not isinstance(error, OtherKind)), refused[0])


def notation(dialect: Dialect) -> Notation:
    """The cell of a record in its own letters and order."""
    cell = dialect.cell
    gates = dict.fromkeys(w.gate for w in cell.weights)
    letters = {gate: _plain(dialect.letters.get(gate, gate)) for gate in gates}
    values = dict(_values(cell, letters))
    equations = [(values.get(name, name), _respelled(expr, letters, values)) for name, expr in cell]
    first = [values.get(gate, gate) for gate in _order(dialect)]
    spelled = Cell(dialect.name, tuple(_ordered(equations, first)), cell.doc)
    return Notation(spelled, letters, values)


def _records(dialect: str | Dialect) -> tuple[Dialect, ...]:
    """The records that a name may mean: one, or all of a framework."""
    if isinstance(dialect, Dialect):
        return (dialect,)
    named = tuple(d for d in DIALECTS if dialect and d.named == dialect)
    return named or tuple(d for d in DIALECTS if d.framework == dialect) or (find(dialect),)


def _network(cell: Cell, weights: Mapping[str, Array], dialect: str | Dialect) -> Network:
    title = dialect if isinstance(dialect, str) else dialect.title
    if len(set(cell.shapes.states.values())) > 1:
        raise Unrepresentable(f"{title}: no cell there has states of different sizes")
    return Network(cell, (({f: np.asarray(w) for f, w in weights.items()},),))


# Letters.


def _plain(letter: str) -> str:
    """A letter as a name of the equation language: ``h~`` is h_tilde."""
    for mark, word in MARKS.items():
        letter = letter.replace(mark, word)
    return letter


def _values(cell: Cell, letters: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The new name of each value that is a gate's; a candidate called like a state gets a tilde."""
    taken = {*cell.states, *RESERVED, *(name for name, _ in cell)}
    for name, _ in cell:
        letter = letters.get(name, name)
        if letter != name:
            yield name, f"{letter}_tilde" if letter in taken else letter


def _respelled(expr: Expr, letters: Mapping[str, str], values: Mapping[str, str]) -> Expr:
    if isinstance(expr, Weight):
        return Weight(expr.family, letters[expr.gate])
    if isinstance(expr, Name):
        return Name(values.get(expr.name, expr.name))
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(_respelled(part, letters, values) for part in expr.args))
    return expr


# Order.


def _order(dialect: Dialect) -> tuple[str, ...]:
    """The gates as the dialect names them: in its packed tensor, or tensor by tensor."""
    blocks = (block for t in dialect.tensors for part in t.parts for block in part)
    return dialect.order or tuple(dict.fromkeys(block.gate for block in blocks))


def _ordered(
    equations: Sequence[tuple[str, Expr]], first: Sequence[str]
) -> Iterator[tuple[str, Expr]]:
    """The equations with those of ``first`` in that order, each after what it reads."""
    by_name, done = dict(equations), set[str]()

    def with_needs(name: str) -> Iterator[tuple[str, Expr]]:
        if name in done:
            return
        for node in walk(by_name[name]):
            if isinstance(node, Name):
                yield from with_needs(node.name)
        done.add(name)
        yield name, by_name[name]

    for name in [*(name for name in first if name in by_name), *by_name]:
        yield from with_needs(name)


# Weights.


def _restacked(network: Network, notation: Notation) -> Network:
    """The same weights, stacked as the notation's cell stacks them, under its letters."""
    cell = notation.cell

    def stack(weights: Mapping[str, Array]) -> dict[str, Array]:
        single = {
            Weight(w.family, notation.gates[w.gate]): array
            for w, array in split(network.cell, weights).items()
        }
        return {
            family: np.concatenate([single[Weight(family, gate)] for gate in gates])
            for family, gates in cell.families.items()
        }

    layers = tuple(tuple(stack(weights) for weights in directions) for directions in network.layers)
    return replace(network, cell=cell, layers=layers, pairs=())
