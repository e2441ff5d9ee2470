"""The words of a worksheet: its sentences, and its numbers in decimals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from grus.equations import text

if TYPE_CHECKING:
    from grus.worksheet.worksheet import WorkedStep, Worksheet

# Sums of decimal fractions miss them by a few units in the last place: 0.1 + 0.2 prints as 0.3.
_NEAR = 2.0**-50


def decimal(value: float, digits: int) -> str:
    """``value`` rounded to ``digits`` decimals, shorter where that is the number.

    Whole numbers are exact. Small numbers are written with a power of ten, so that two figures
    or more show: 0.5 is "0.5", 1/3 is "0.33333", 1/30000 is "3.3333e-05".
    """
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return text.number(value)
    if abs(value) >= 1e9 or abs(value) < 10.0 ** min(2 - digits, -1):
        return f"{value:.{max(digits - 1, 0)}e}"
    fixed = f"{value:.{digits}f}"
    if "." in fixed and abs(float(fixed) - value) <= _NEAR * abs(value):
        short = fixed.rstrip("0")
        return fixed if short.endswith(".") else short
    return fixed


SHOWN = 12
"""Numbers of a vector that are all shown; of a longer one the first three and the last are."""


def short(shown: Sequence[str], gap: str) -> list[str]:
    """The first three and the last of more than `SHOWN`, with ``gap`` between them."""
    return list(shown) if len(shown) <= SHOWN else [*shown[:3], gap, shown[-1]]


def vector(values: Sequence[float], digits: int) -> str:
    """One number as it is, several in brackets; of many the first three and the last."""
    shown = short([decimal(value, digits) for value in values], "...")
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


OTHERWISE = "The same numbers, read otherwise, end at another last state:"
MISREAD = ("last state", "if this is read otherwise")
"""The columns below that line."""
COMPUTED = "Values are those of {}; what stands between is worked out from them in float64."
ROUNDED = "Numbers are rounded to {} decimals in print only; a whole number is exact."


def title(step: WorkedStep, total: int, digits: int) -> str:
    """``step 2 of 4: x = 2, h = -0.03``; with the token that x stands for."""
    token = "" if step.token is None else f" ({step.token!r})"
    reads = {"x": step.x, **step.further, **step.before}
    return f"step {step.number} of {total}{token}: {named(reads, digits)}"


def named(values: Mapping[str, Sequence[float]], digits: int) -> str:
    """``h = 0.1, c = [0.2, 0.3]``."""
    return ", ".join(f"{name} = {vector(v, digits)}" for name, v in values.items())


def last(sheet: Worksheet, digits: int) -> Iterator[str]:
    """The last state, and the output where it is another value."""
    yield f"last state: {named(sheet.final, digits)}"
    if sheet.cell.output == "y":
        yield f"last output: y = {vector(sheet.output, digits)}"
