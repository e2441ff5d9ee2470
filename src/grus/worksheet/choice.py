"""Which steps and units of a worksheet are shown, as a person writes them: counted from 1."""

from __future__ import annotations

from grus.equations import Cell
from grus.errors import InputError

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
