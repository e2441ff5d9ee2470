"""The table of dialects, and finding one: one record for each framework or paper, and cell."""

from __future__ import annotations

from grus.dialects.dialect import Dialect
from grus.dialects.records_read import READ
from grus.dialects.records_run import RUN
from grus.equations import CELLS, Cell
from grus.errors import InputError, expect

DIALECTS: tuple[Dialect, ...] = (*RUN, *READ)


def dialects(cell: Cell) -> tuple[Dialect, ...]:
    """The dialects of this cell, in the table's order."""
    return tuple(one for one in DIALECTS if one.cell == cell)


def find(name: str, cell: str | Cell | None = None) -> Dialect:
    """The dialect of that name; of a framework with several, the one of ``cell``.

    Without a cell the framework's first is meant: its default GRU. Raises InputError when
    nothing is called that, or when it has other cells only.
    """
    expect("a dialect is named by a text, as torch or keras", name, str)
    wanted = CELLS.get(cell, cell) if isinstance(cell, str) else cell
    named = [one for one in DIALECTS if name and name in (one.framework, one.named)]
    if not named:
        known = dict.fromkeys(one.framework for one in DIALECTS)
        raise InputError(f"no dialect is called {name[:100]!r}; there are {', '.join(known)}")
    if wanted is None:
        return named[0]
    for one in named:
        if one.cell == wanted:
            return one
    cells = ", ".join(f"{one.cell_name} ({one.title})" for one in named)
    called = wanted.name if isinstance(wanted, Cell) else wanted
    raise InputError(f"dialect {name} does not spell the cell {called}; it spells {cells}")
