"""What is known of a published cell beside its equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from grus.equations import Cell

Made = TypeVar("Made")
"""A cell, which to a type checker is the class of its body."""


@dataclass(frozen=True)
class Published:
    """A cell as its authors published it."""

    cell: Cell
    year: int
    paper: str
    """Authors, title, where."""
    read_in: str
    """Where this definition was read: code and version; "recalled" where no code was at hand."""
    initial: Mapping[str, float] = field(default_factory=dict)
    """Weights that the authors' code starts at a number, by name (``"b.f": 1.0``); layers draw them
    like all others."""

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.cell.name

    @property
    def special(self) -> str:
        """What sets it apart, in a sentence."""
        return self.cell.doc


PUBLISHED: dict[str, Published] = {}
"""Every published cell by its name."""


def published(
    year: int, paper: str, read_in: str, initial: Mapping[str, float] | None = None
) -> Callable[[Made], Made]:
    """A decorator that adds a cell to `PUBLISHED`.

    Raises ValueError for a second cell of that name, and for an initial value of a weight that
    the cell has not.
    """

    def add(made: Made) -> Made:
        cell = cast("Cell", made)
        weights = {weight.name for weight in cell.weights}
        if cell.name in PUBLISHED or not set(initial or {}) <= weights:
            raise ValueError(f"{cell.name}: a second cell of that name, or an unknown weight")
        PUBLISHED[cell.name] = Published(cell, year, paper, read_in, initial or {})
        return made

    return add
