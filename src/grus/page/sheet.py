"""One step and one unit of a reading as a worksheet: text that the browser lays out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grus.page.reading import Reading
from grus.worksheet.format import TextPage
from grus.worksheet.worksheet import Equation, worksheet

DIGITS = 4


def sheet(reading: Reading, symbols: str, layer: int, step: int, unit: int) -> dict[str, Any]:
    """The equations of a step for one unit, in the notation that the reading was made in.

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
    (found,) = work.steps
    page = _Unwrapped(DIGITS)
    return {
        "title": f"Step {step + 1}, unit {unit + 1}",
        "symbol": symbols[step],
        "layer": layer + 1,
        "before": {name: page.number(state[unit]) for name, state in found.before.items()},
        "after": {name: page.number(state[unit]) for name, state in found.after.items()},
        "equations": [_lines(page, equation) for equation in found.equations],
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
