"""The page's requests and the answers to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np

from grus.builds import build
from grus.equations import CELLS
from grus.errors import InputError
from grus.page.character_network import CharacterNetwork, TextReading, to_build
from grus.page.notations import HOUSE, NotatedNetwork, Notations, sheet, written
from grus.traces import state_name
from grus.worksheet import ROLES

MAX_TEXT = 2000
MAX_GATES = 20


@dataclass(frozen=True)
class Request:
    """A request of the page. Numbers count from 0; names are the cell's, in the house notation."""

    text: str = ""
    hold: Mapping[str, float] = field(default_factory=dict)
    """Gate -> the number that it is held at, 0 to 1."""
    dialect: str = ""
    """The title of the dialect shown; "" is the cell as it was written."""
    layer: int = 0
    value: str = ""
    """The value of the picture; "" or one that is not there is the first state."""
    units: int = 0
    """The first unit of the picture."""
    step: int = -1
    """The step looked at; -1 is the last."""
    unit: int = 0

    def __post_init__(self) -> None:
        if len(self.text) > MAX_TEXT:
            count = f"{len(self.text):,}"
            raise InputError(f"the page reads at most {MAX_TEXT:,} characters, got {count}")
        for gate, number in self.hold.items():
            if not isfinite(number) or not 0 <= number <= 1:
                raise InputError(f"gate {gate[:40]!r} must be held between 0 and 1, got {number}")
        for name in ("layer", "units", "unit", "step"):
            number = getattr(self, name)
            if not -(name == "step") <= number <= 10**9:
                raise InputError(f"{name} must be 0 or more, got {number}")


def parse(content: object) -> Request:
    """A request from decoded JSON. Raises InputError naming the field that is wrong."""
    if not isinstance(content, dict):
        raise InputError("a request must be a JSON object")
    known = {f.name: f.type for f in fields(Request)}
    for name, value in content.items():
        if name not in known:
            raise InputError(f"a request has no field {str(name)[:40]!r}")
        kind: Any = {"int": int, "str": str}.get(str(known[name]))
        if kind and type(value) is not kind:
            raise InputError(f"{name} must be {'text' if kind is str else 'a whole number'}")
    return Request(**{**content, "hold": _hold(content.get("hold", {}))})


def _hold(content: object) -> dict[str, float]:
    if not isinstance(content, dict) or len(content) > MAX_GATES:
        raise InputError(f"hold must be an object of at most {MAX_GATES} gates")
    for number in content.values():
        if type(number) not in (int, float):
            raise InputError("hold must give each gate a number")
    try:
        return {name: float(number) for name, number in content.items()}
    except OverflowError:
        raise InputError("each gate must be held between 0 and 1") from None


Array = np.ndarray[Any, np.dtype[Any]]
Answer = dict[str, Any]
STEPS = 60
UNITS = 64
LIKELIEST = 8
KEPT = 6


class Session:
    """Answers the page's requests. Safe to call from several threads.

    A `TextReading` is kept for each of the last few networks (dialect, gates held), so that one
    more character costs one more step.
    """

    def __init__(self, network: CharacterNetwork, about: str) -> None:
        self.about, self.notations = about, Notations(network)
        self._readings: OrderedDict[Any, TextReading] = OrderedDict()
        self._lock = Lock()

    def model(self) -> Answer:
        """The choices that the page offers; they never change."""
        network = self.notations.house.network
        with self._lock:
            titles, refused = self.notations.titles, self.notations.refused
        return {
            "about": self.about,
            "cell": network.cell.name,
            "doc": next(
                (known.doc for known in CELLS.values() if known == network.cell), network.cell.doc
            ),
            "layers": len(network.layers),
            "hidden": network.hidden,
            "symbols": network.vocabulary.symbols,
            "gates": network.gates,
            "most": MAX_TEXT,
            "page": UNITS,
            "dialects": titles,
            "refused": refused,
        }

    def look(self, asked: Request) -> Answer:
        """The picture, the predictions and the equations for a text."""
        with self._lock:
            shown, house = self._read(asked.dialect, asked), self._read(HOUSE, asked)
            free = self._read(HOUSE, asked, held={}) if asked.hold else house
            return self._answer(asked, shown, house, free)

    def worksheet(self, asked: Request) -> Answer:
        """One step and one unit with the actual numbers."""
        with self._lock:
            reading = self._read(asked.dialect, asked)
            step = self._step(asked, reading)
            layer = self._layer(asked, reading)
            unit = _within("unit", asked.unit, reading.network.hidden)
            return sheet(reading, self._symbols(asked), layer, step, unit)

    def save(self) -> Answer:
        """The network as trained, as one file that runs in a browser by itself: its name and text.

        Raises InputError where no linker is installed.
        """
        model = to_build(self.notations.house.network)
        with TemporaryDirectory() as folder:
            ((name, content),) = build(model, folder, "page").files.items()
        return {"name": name, "text": content.decode()}

    def _read(self, dialect: str, asked: Request, held: Any = None) -> TextReading:
        """The text read by the network in a dialect, with gates held."""
        values = dict(sorted((asked.hold if held is None else held).items()))
        key = (dialect, tuple(values.items()))
        if key not in self._readings:
            self._readings[key] = TextReading(self.notations[dialect].held(values))
        self._readings.move_to_end(key)
        while len(self._readings) > KEPT:
            self._readings.popitem(last=False)
        reading = self._readings[key]
        vocabulary = reading.network.vocabulary
        reading.read(vocabulary.encode(vocabulary.split(asked.text)))
        return reading

    def _symbols(self, asked: Request) -> str:
        return self.notations.house.network.vocabulary.split(asked.text)

    def _step(self, asked: Request, reading: TextReading) -> int:
        count = len(reading.ids)
        if not count:
            raise InputError("there is no step to look at before the first character")
        return _within("step", asked.step, count) if asked.step >= 0 else count - 1

    def _layer(self, asked: Request, reading: TextReading) -> int:
        return _within("layer", asked.layer, len(reading.values))

    # The answer's parts.

    def _answer(
        self, asked: Request, shown: TextReading, house: TextReading, free: TextReading
    ) -> Answer:
        notated = self.notations[asked.dialect]
        cell = shown.network.cell
        notation = {
            "equations": written(cell),
            "letters": {gate: notated.letters.get(gate, gate) for gate in free.network.gates},
            "mirrored": sorted(notated.mirrored),
            "notes": notated.notes,
            "order": notated.network.gates,
        }
        layer = self._layer(asked, shown)
        if not len(shown.ids):
            return {"steps": 0, "notation": notation, "values": [], "apart": 0.0}
        step = self._step(asked, shown)
        first = max(0, min(step - STEPS // 2, len(shown.ids) - STEPS))
        window = slice(first, first + STEPS)
        return {
            "steps": len(shown.ids),
            "step": step,
            "first": first,
            "symbols": list(self._symbols(asked)[window]),
            "notation": notation,
            **self._picture(asked, shown, notated.held_values(asked.hold), layer, window),
            "norms": _norms(house, layer, window),
            "free_norms": _norms(free, layer, window),
            "predictions": _predictions(house, free, step),
            "bits": _bits(house, step),
            "free_bits": _bits(free, step),
            "apart": _apart(shown, house),
            "computed": shown.computed,
        }

    def _picture(
        self,
        asked: Request,
        shown: TextReading,
        held: Mapping[str, float],
        layer: int,
        window: slice,
    ) -> Answer:
        """The values there are, and one of them over the window's steps and a page of units."""
        cell, hidden = shown.network.cell, shown.network.hidden
        steps = len(shown.ids)
        values = {
            **{g: np.full((steps, hidden), v) for g, v in held.items()},
            **{
                state_name(cell, n): v
                for n, v in shown.values[layer].items()
                if v.shape[1] == hidden
            },
        }
        notated = self.notations[asked.dialect]
        house = {letter: name for name, letter in notated.letters.items()}
        asked_for = notated.letters.get(asked.value, asked.value)
        name = asked_for if asked_for in values else cell.states[0]
        first = _within("units", asked.units, hidden) // UNITS * UNITS
        part = values[name][window, first : first + UNITS]
        gates = {*shown.network.gates, *held}
        roles = self._roles(notated)
        return {
            "values": [
                {"name": n, "house": house.get(n, n), "role": roles.get(n, ""), "held": n in held}
                for n in values
            ],
            "value": name,
            "gate": name in gates,
            "units": first,
            "rows": np.round(part.T.astype(np.float64), 4).tolist(),
        }

    def _roles(self, notated: NotatedNetwork) -> dict[str, str]:
        """Value in a notation's letters -> its role, for the cells of the library."""
        cell = self.notations.house.network.cell
        if cell not in CELLS.values():
            return {}
        gates = {letter: ROLES[name] for name, letter in notated.letters.items() if name in ROLES}
        return gates | dict.fromkeys(cell.states, "state")


def _within(name: str, number: int, size: int) -> int:
    if not 0 <= number < size:
        raise InputError(f"{name} must lie in 0..{size - 1}, got {number}")
    return number


def _norms(reading: TextReading, layer: int, window: slice) -> list[float]:
    """The Euclidean norm of a layer's first state after each step."""
    state = reading.network.cell.states[0]
    values = reading.values[layer][f"{state}_next"][window].astype(np.float64)
    return [round(float(n), 4) for n in np.linalg.norm(values, axis=1)]


def _predictions(house: TextReading, free: TextReading, step: int) -> list[Answer]:
    """The likeliest next symbols after a step: with the gates held, and without."""
    symbols = house.network.vocabulary.symbols
    row, other = (_after(reading, step) for reading in (house, free))
    order = np.argsort(-np.maximum(row, other), kind="stable")[:LIKELIEST]
    return [{"symbol": symbols[k], "held": float(row[k]), "free": float(other[k])} for k in order]


def _after(reading: TextReading, step: int) -> Array:
    return np.asarray(reading.network.probabilities(reading.output()[step : step + 1])[0])


def _bits(reading: TextReading, step: int) -> float | None:
    """Mean bits that the characters up to ``step`` cost, from the second on; None for one."""
    if step < 1:
        return None
    chances = reading.network.probabilities(reading.output()[:step])
    taken = chances[np.arange(step), reading.ids[1 : step + 1]]
    return float(-np.log2(np.maximum(taken, np.finfo(np.float64).tiny)).mean())


def _apart(shown: TextReading, house: TextReading) -> float:
    """The largest difference of a probability between two readings of a text."""
    first, second = (r.network.probabilities(r.output()) for r in (shown, house))
    return float(np.abs(first - second).max())
