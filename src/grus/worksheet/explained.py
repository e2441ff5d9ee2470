"""One layer to be worked out by hand: its source, the steps and units shown, the notation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects import Unpacked
from grus.equations import Cell, expected
from grus.equations.axes import sizes
from grus.errors import InputError
from grus.worksheet.format import Format, render
from grus.worksheet.misreadings import Reading
from grus.worksheet.notation import spoken
from grus.worksheet.preamble import Context, head
from grus.worksheet.worksheet import batched, worksheet

ALL_UNITS = 16
FEW_UNITS = 4
ALL_LINES = 2_000
FEW_STEPS = 8


def numbers(text: str, size: int, option: str) -> list[int]:
    """``1,3`` or ``2:4`` (2, 3 and 4, as the sheet counts) as numbers from 0.

    An end may be left out. Raises InputError, which begins with ``option``, for anything else and
    for a number that is not there.
    """
    first, colon, last = text.partition(":")
    parts = [first or "1", last or str(size)] if colon else text.split(",")
    if not all(part.strip().isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"{option} takes numbers such as 1,3 or a range such as 2:4, got {text!r}")
    found = [int(part) for part in parts]
    found = list(range(found[0], found[1] + 1)) if colon and found[1] <= size else found
    wrong = [k for k in found if not 1 <= k <= size]
    if wrong or not found:
        told = f"there is no {wrong[0]}" if wrong else f"{text} is empty"
        raise InputError(f"{option}: {told}; counted from 1, they go to {size}")
    return [k - 1 for k in found]


def choose(
    cell: Cell, steps: str, units: str, sizes: tuple[int, int]
) -> tuple[list[int], list[int], tuple[str, ...]]:
    """The steps and units to show, and what to say of it; ``sizes`` are those there are.

    What is not asked for is shown whole where a person can follow it: all of up to 16 units, else
    the first 4; all steps up to 2,000 lines, else the first 8.
    """
    notes = []
    there, many = sizes
    few = range(min(many, FEW_UNITS if many > ALL_UNITS else ALL_UNITS))
    shown = numbers(units, many, "--units") if units else list(few)
    if len(shown) < many and not units:
        notes.append(f"units 1 to {len(shown)} of {many} are shown; --units chooses others")
    taken = numbers(steps, there, "--steps") if steps else list(range(there))
    if not steps and there * len(cell) * len(shown) > ALL_LINES and there > FEW_STEPS:
        taken = taken[:FEW_STEPS]
        notes.append(f"steps 1 to {FEW_STEPS} of {there} are shown; --steps chooses others")
    return taken, shown, tuple(notes)


Array = Any


@dataclass(frozen=True, eq=False)
class Explained:
    """A layer in one direction, its input, and what is told of where they come from."""

    cell: Cell
    unpacked: Unpacked
    x: Array
    """[time, input], in the dtype of the run."""
    given: Context
    tokens: Sequence[str] | None = None
    reverse: bool = False
    readings: Sequence[Reading] = ()

    def page(
        self, form: Format, digits: int, steps: str = "", units: str = "", speak: str = ""
    ) -> str:
        """The printed worksheet of the ``steps`` and ``units`` asked for, in the notation of the
        dialect ``speak`` (default: the house's own). Raises InputError, `Unrepresentable` where
        that dialect cannot say it."""
        cell, weights, start = expected(self.cell), self.unpacked.weights, self.given.h0
        said = spoken((cell, weights), speak) if speak else None
        if said is not None:
            start = start and said.state(start, cell)
            cell, weights = said.cell, said.weights
        axes = sizes(cell, weights, self.x.shape[1], batched(start))
        many = max(axes[axis] for axis in cell.shapes.states.values())
        taken, shown, notes = choose(cell, steps, units, (len(self.x), many))
        sheet = worksheet(
            cell,
            {family: np.asarray(w, self.x.dtype) for family, w in weights.items()},
            self.x,
            start,
            steps=taken,
            units=shown,
            reverse=self.reverse,
            tokens=self.tokens,
        )
        given = replace(self.given, spoken=said, notes=(*self.given.notes, *notes))
        top = head(self.cell, given, self.unpacked, self.x)
        return render(top, sheet, self.readings, form, digits)
