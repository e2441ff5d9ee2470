"""One layer to be worked out by hand: its source, the steps and units shown, the notation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from grus.dialects import Unpacked
from grus.equations import Cell, expected
from grus.equations.axes import sizes
from grus.equations.text import counted
from grus.errors import InputError
from grus.worksheet.format import Format, render
from grus.worksheet.misreadings import Misreading
from grus.worksheet.notation import spoken
from grus.worksheet.pasted_numbers import read_numbers
from grus.worksheet.preamble import Context, head
from grus.worksheet.worksheet import batched, worksheet

Array = Any
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
    asked = [int(part) for part in parts]
    asked = list(range(asked[0], asked[1] + 1)) if colon and asked[1] <= size else asked
    wrong = [k for k in asked if not 1 <= k <= size]
    if wrong or not asked:
        reason = f"there is no {wrong[0]}" if wrong else f"{text} is empty"
        raise InputError(f"{option}: {reason}; counted from 1, they go to {size}")
    return [k - 1 for k in asked]


def choose(
    cell: Cell, steps: str, units: str, sizes: tuple[int, int]
) -> tuple[list[int], list[int], tuple[str, ...]]:
    """The steps and units to show, and notes on them; ``sizes`` are the steps and units there are.

    By default as many as a person can follow: all of up to 16 units, else the first 4; all steps
    up to 2,000 lines, else the first 8.
    """
    notes = []
    length, many = sizes
    few = range(min(many, FEW_UNITS if many > ALL_UNITS else ALL_UNITS))
    shown = numbers(units, many, "--units") if units else list(few)
    if len(shown) < many and not units:
        notes.append(f"units 1 to {len(shown)} of {many} are shown; --units chooses others")
    taken = numbers(steps, length, "--steps") if steps else list(range(length))
    if not steps and length * len(cell) * len(shown) > ALL_LINES and length > FEW_STEPS:
        taken = taken[:FEW_STEPS]
        notes.append(f"steps 1 to {FEW_STEPS} of {length} are shown; --steps chooses others")
    return taken, shown, tuple(notes)


def initial_states(cell: Cell, unpacked: Unpacked, text: str) -> tuple[Array, ...] | None:
    """The states of ``--h0``, [size of its axis] each: a row for each, or all numbers in a row."""
    if not text:
        return None
    states = read_numbers(text, "--h0")
    alone = states.size // len(cell.states)  # where no weight tells the size
    axes = [unpacked.sizes.get(cell.shapes.states[s], alone) for s in cell.states]
    if states.size != sum(axes) or (states.ndim > 1 and len(states) not in (1, len(axes))):
        wanted = " and ".join(f"{n} for {s}" for s, n in zip(cell.states, axes, strict=True))
        raise InputError(
            f"--h0: {counted(states.size, 'number')} of shape {states.shape}, wanted {wanted}"
        )
    return tuple(np.split(np.ravel(states), np.cumsum(axes)[:-1]))


@dataclass(frozen=True, eq=False)
class Explanation:
    """A layer in one direction, its input, and where they come from."""

    cell: Cell
    unpacked: Unpacked
    x: Array
    """[time, input], in the dtype of the run."""
    context: Context
    tokens: Sequence[str] | None = None
    reverse: bool = False
    readings: Sequence[Misreading] = ()
    further: Mapping[str, Array] = field(default_factory=dict)
    """Further inputs by name, [time, size]."""

    def page(
        self, form: Format, digits: int, steps: str = "", units: str = "", speak: str = ""
    ) -> str:
        """The printed worksheet of the ``steps`` and ``units`` asked for, in the notation of the
        dialect ``speak`` (default: the project's own). Raises InputError, `Unrepresentable` where
        that dialect cannot say it."""
        cell, weights, start = expected(self.cell), self.unpacked.weights, self.context.h0
        speaking = spoken((cell, weights), speak) if speak else None
        if speaking is not None:
            start = start and speaking.state(start, cell)
            cell, weights = speaking.cell, speaking.weights
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
            further=self.further,
        )
        context = replace(self.context, spoken=speaking, notes=(*self.context.notes, *notes))
        top = head(self.cell, context, self.unpacked, self.x)
        return render(top, sheet, self.readings, form, digits)
