"""What to record: values by name, and which layers, directions, steps and units of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import Apply, Cell
from grus.errors import InputError
from grus.kernels.values import equation, value_names

Array = np.ndarray[Any, np.dtype[Any]]
Chosen = int | slice | str | Sequence[int] | Array | None
"""A number, a slice, the text "a:b" or "a:b:c", or a list of numbers; None is all."""
ACTIVATIONS = {"sigmoid", "tanh", "relu", "minimum", "maximum"}
"""What stands at the root of a gate or a candidate; hard and clipped ones end in a minimum."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a caller asks for; None is the usual values, and all of the rest."""

    values: Sequence[str] | None = None
    layers: Chosen = None
    directions: Chosen = None
    steps: Chosen = None
    units: Chosen = None

    def request(self, cell: Cell, sizes: tuple[int, int, int, int]) -> Request:
        """The request in numbers; ``sizes`` are those of layers, directions, steps and units.

        Raises InputError naming what cannot be: a value that the cell has not, a number beyond the
        end, a text that is no range.
        """
        values = notable(cell) if self.values is None else value_names(cell, self.values)
        wanted = {equation(cell, name) for name in values}
        return Request(
            tuple(name for name, _ in cell.equations if name in wanted),
            numbers("layers", self.layers, sizes[0]),
            numbers("directions", self.directions, sizes[1]),
            numbers("steps", self.steps, sizes[2]),
            numbers("units", self.units, sizes[3]),
        )


@dataclass(frozen=True, eq=False)
class Request:
    """What is recorded of a cell: equations in the cell's order, and int64 numbers in ascending
    order."""

    names: tuple[str, ...]
    layers: Array
    directions: Array
    steps: Array
    units: Array


def notable(cell: Cell) -> tuple[str, ...]:
    """The gates, candidates and states of a cell, and its output: what a trace records unless told
    otherwise. A gate or a candidate is a value that an activation gives."""
    found = []
    for name, expr in cell.equations:
        active = isinstance(expr, Apply) and expr.op in ACTIVATIONS
        if active or state_name(cell, name) != name or name == cell.output:
            found.append(name)
    return tuple(found)


def state_name(cell: Cell, name: str) -> str:
    """A state's own name where ``name`` is the equation of its next value, else ``name``."""
    own = name.removesuffix("_next")
    return own if own in cell.states else name


def numbers(name: str, asked: Chosen, size: int) -> Array:
    """The numbers asked for, ascending, out of 0 ... ``size`` - 1; negative ones count from the
    end. Raises InputError."""
    if asked is None:
        return np.arange(size)
    if isinstance(asked, str):
        found = numbers(name, _range(name, asked), size)
        if not len(found):
            raise InputError(f"{name}: {asked[:80]} is empty; they are 0 to {size - 1}")
        return found
    if isinstance(asked, slice):
        if asked.step == 0:
            raise InputError(f"{name}: a range cannot go on by 0")
        try:
            return np.arange(size)[asked][:: -1 if (asked.step or 1) < 0 else 1]
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: {error}, got {asked}") from None
    found = np.atleast_1d(np.asarray(asked))
    if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
        raise InputError(f"{name} must be a number, a list of them, or a range, got {asked!r:.80}")
    wrong = found[(found < -size) | (found >= size)]
    if len(wrong):
        raise InputError(f"{name}: there is no {wrong[0]}, they are 0 to {size - 1}")
    found = found.astype(np.int64)
    return np.unique(np.where(found < 0, found + size, found))


def _range(name: str, text: str) -> slice | list[int]:
    """``a:b``, ``a:b:c``, or numbers with commas between them."""
    try:
        if ":" in text:
            parts = [int(part) if part.strip() else None for part in text.split(":")]
            if len(parts) <= 3:
                return slice(*parts)
        else:
            return [int(part) for part in text.split(",")]
    except ValueError:
        pass
    raise InputError(f"{name} must be like 3, 0,4,7 or 10:20, got {text[:80]!r}")
