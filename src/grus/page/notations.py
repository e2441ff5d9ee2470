"""The network in other notations, and a step of it worked out for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from grus.dialects import DIALECTS, Dialect, Network, Unrepresentable, sense
from grus.dialects.transform import OtherKind
from grus.equations import Cell, text
from grus.errors import InputError
from grus.page.character_network import CharacterNetwork, TextReading
from grus.worksheet import Equation, TextPage, spoken, worksheet

HOUSE = ""


@dataclass(frozen=True, eq=False)
class NotatedNetwork:
    """The network in one notation."""

    title: str
    network: CharacterNetwork
    letters: Mapping[str, str]
    """Value in house letters -> in this notation's; all of those that both have."""
    mirrored: frozenset[str]
    """Gates, in house letters, that are 1 minus their house value: the sense of z is the other."""
    notes: tuple[str, ...] = ()

    def held(self, values: Mapping[str, float]) -> CharacterNetwork:
        """The network with gates held. Names and numbers are those of the house notation."""
        return self.network.held(self.held_values(values))

    def held_values(self, values: Mapping[str, float]) -> dict[str, float]:
        """The held values in this notation. Raises InputError for a name that is no gate."""
        known = set(self.network.gates)
        held: dict[str, float] = {}
        for name, number in values.items():
            letter = self.letters.get(name, "")
            if letter not in known:
                raise InputError(f"cell {self.network.cell.name} has no gate {name[:40]!r}")
            held[letter] = 1 - number if name in self.mirrored else number
        return held


def written(cell: Cell) -> tuple[tuple[str, str], ...]:
    """The equations of a cell: the name and the right side of each."""
    return tuple((name, text.show(expr)) for name, expr in cell)


class Notations:
    """A network in every dialect that can express it, and why the others cannot."""

    def __init__(self, network: CharacterNetwork) -> None:
        names = {name: name for name, _ in network.cell}
        self.house = NotatedNetwork(HOUSE, network, names, frozenset())
        self._notated = {HOUSE: self.house}

    @cached_property
    def refused(self) -> dict[str, str]:
        """Dialect -> why it cannot express this network. Other kinds of cell are left out."""
        self._try_all()
        return self._refused

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """The dialects that can express this network."""
        self._try_all()
        return tuple(title for title in self._notated if title != HOUSE)

    def __getitem__(self, title: str) -> NotatedNetwork:
        """The network in a dialect. Raises InputError where it has no place there."""
        if title not in (HOUSE, *self.titles):
            why = self.refused.get(title, f"there is no dialect {title[:80]!r} for this cell")
            raise InputError(why)
        return self._notated[title]

    def _try_all(self) -> None:
        self._refused: dict[str, str] = {}
        for dialect in DIALECTS:
            try:
                self._notated[dialect.title] = self._in_dialect(dialect)
            except OtherKind:
                continue
            except Unrepresentable as error:
                self._refused[dialect.title] = str(error)

    def _in_dialect(self, dialect: Dialect) -> NotatedNetwork:
        house = self.house.network
        notated = spoken(
            Network(house.cell, tuple((weights,) for weights in house.layers)), dialect
        )
        names = {name for name, _ in notated.cell}
        letters = {name: notated.notation.values.get(name, name) for name in self.house.letters}
        letters = {name: letter for name, letter in letters.items() if letter in names}
        dtype = house.features.dtype
        layers = tuple(
            {f: w.astype(dtype) for f, w in forward.items()}
            for forward, *_ in notated.network.layers
        )
        network = replace(house, cell=notated.cell, layers=layers)
        mirrored = _mirrored(house.cell, notated.cell)
        return NotatedNetwork(dialect.title, network, letters, mirrored, notated.notes)


def _mirrored(house: Cell, other: Cell) -> frozenset[str]:
    """The update gate, where it keeps in one cell and admits in the other."""
    first, second = sense(house), sense(other)
    differ = first is not None and second is not None and first[1] != second[1]
    return frozenset({first[0]} if differ and first else ())


DIGITS = 4


def sheet(reading: TextReading, symbols: str, layer: int, step: int, unit: int) -> dict[str, Any]:
    """The equations of a step for one unit, in the notation of the reading.

    Values are the kernels' own; numbers in the answer count from 1, as in the worksheet.
    """
    network = reading.network
    work = worksheet(
        network.cell,
        network.layers[layer],
        reading.inputs[layer],
        network.zeros,
        steps=[step],
        units=[unit],
    )
    (worked,) = work.steps
    page = _Unwrapped(DIGITS)
    return {
        "title": f"Step {step + 1}, unit {unit + 1}",
        "symbol": symbols[step],
        "layer": layer + 1,
        "before": {name: page.number(state[unit]) for name, state in worked.before.items()},
        "after": {name: page.number(state[unit]) for name, state in worked.after.items()},
        "equations": [_lines(page, equation) for equation in worked.equations],
        "by": work.by,
        "digits": DIGITS,
    }


class _Unwrapped(TextPage):
    """Lines as long as they are: the browser breaks them where its column ends."""

    def wrapped(self, lead: str, shown: str) -> Iterator[str]:
        """One line."""
        yield lead + shown


def _lines(page: TextPage, equation: Equation) -> dict[str, Any]:
    """An equation in symbols, and its lines with numbers."""
    symbols, *numbers = page.equation(equation)
    return {"symbols": symbols.strip(), "lines": [line.removeprefix("  ") for line in numbers]}
