"""The zoo: published gated cells, as their authors have them, each its equations and its paper.

In: a name. Out: a record with the cell. Imports equations alone.
"""

from grus.equations import Named
from grus.zoo import classic, dynamical, elementwise, gated, lstm, spatial, timed, units
from grus.zoo.record import KINDS, PUBLISHED, Draw, Published

__all__ = ["KINDS", "PUBLISHED", "Draw", "Published", "by_name"]

FILES = (classic, dynamical, elementwise, gated, lstm, spatial, timed, units)
"""Loaded so that their cells are in `PUBLISHED`."""


def by_name() -> dict[str, Named]:
    """Every published cell by its name, with a line that says where it comes from."""
    return {
        name: Named(known.cell, f"{name} is a published cell: {known.paper}.")
        for name, known in PUBLISHED.items()
    }
