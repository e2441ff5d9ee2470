"""What the page may ask for: JSON from the browser, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

from grus.errors import InputError

MAX_TEXT = 2000
MAX_GATES = 20


@dataclass(frozen=True)
class Request:
    """What to show. Numbers count from 0; names are those of the cell in the house notation."""

    text: str = ""
    hold: Mapping[str, float] = field(default_factory=dict)
    """Gate -> the number that it is held at, 0 to 1."""
    dialect: str = ""
    """The title of the dialect that speaks; "" is the cell as it was written."""
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


def parse(given: object) -> Request:
    """A request from decoded JSON. Raises InputError naming what does not belong."""
    if not isinstance(given, dict):
        raise InputError("a request must be a JSON object")
    known = {f.name: f.type for f in fields(Request)}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"a request has no field {str(name)[:40]!r}")
        kind: Any = {"int": int, "str": str}.get(str(known[name]))
        if kind and type(value) is not kind:
            raise InputError(f"{name} must be {'text' if kind is str else 'a whole number'}")
    return Request(**{**given, "hold": _hold(given.get("hold", {}))})


def _hold(given: object) -> dict[str, float]:
    if not isinstance(given, dict) or len(given) > MAX_GATES:
        raise InputError(f"hold must be an object of at most {MAX_GATES} gates")
    for number in given.values():
        if type(number) not in (int, float):
            raise InputError("hold must give each gate a number")
    try:
        return {name: float(number) for name, number in given.items()}
    except OverflowError:
        raise InputError("each gate must be held between 0 and 1") from None
