"""One layer to be worked out by hand, wherever its weights came from: choice, notation, page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects import Unpacked
from grus.equations import Cell, expected
from grus.equations.axes import sizes
from grus.worksheet.choice import choose
from grus.worksheet.computed import batched
from grus.worksheet.format import Format, render
from grus.worksheet.misreadings import Reading
from grus.worksheet.notation import spoken
from grus.worksheet.preamble import Given, head
from grus.worksheet.worksheet import worksheet

Array = Any


@dataclass(frozen=True, eq=False)
class Explained:
    """A layer in one direction, its input, and what is told of where they come from."""

    cell: Cell
    unpacked: Unpacked
    x: Array
    """[time, input], in the dtype of the run."""
    given: Given
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
