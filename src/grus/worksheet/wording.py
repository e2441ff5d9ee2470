"""What every printed form of a worksheet says in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from grus.worksheet.decimals import vector
from grus.worksheet.worksheet import Step, Worksheet

OTHERWISE = "The same numbers, read otherwise, end at another last state:"
COMPUTED = "Values are those of {}; what stands between is worked out from them in float64."
ROUNDED = "Numbers are rounded to {} decimals in print only; a whole number is exact."


def title(step: Step, total: int, digits: int) -> str:
    """``step 2 of 4: x = 2, h = -0.03``; with the token that x stands for."""
    token = "" if step.token is None else f" ({step.token!r})"
    return f"step {step.number} of {total}{token}: {named({'x': step.x, **step.before}, digits)}"


def named(values: Mapping[str, Sequence[float]], digits: int) -> str:
    """``h = 0.1, c = [0.2, 0.3]``."""
    return ", ".join(f"{name} = {vector(v, digits)}" for name, v in values.items())


def last(sheet: Worksheet, digits: int) -> Iterator[str]:
    """The last state, and the output where it is another value."""
    yield f"last state: {named(sheet.final, digits)}"
    if sheet.cell.output == "y":
        yield f"last output: y = {vector(sheet.output, digits)}"
