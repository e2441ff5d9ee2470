"""The table of dialects, and finding one: one record for each framework or paper, and cell."""

from __future__ import annotations

from grus.dialects.activation import USUAL
from grus.dialects.dialect import Dialect
from grus.dialects.records_read import READ
from grus.dialects.records_run import RUN
from grus.equations import CELLS, Cell, Named, nearest, plain
from grus.errors import InputError, expect

DIALECTS: tuple[Dialect, ...] = (*RUN, *READ)

ALIASES = {
    "pytorch": "torch",
    "tensorflow": "keras",
    "tf.keras": "keras",
    "linen": "flax",
    "nnx": "flax_nnx",
    "cho": "cho2014",
    "chung": "chung2014",
}
"""Other names of frameworks and papers."""


def called(name: str) -> str:
    """A dialect's name as the records have it, without regard to case, aliases exchanged."""
    return ALIASES.get(plain(name), plain(name))


def cells_by_name() -> dict[str, Named]:
    """Every name of a dialect, a framework or an alias -> the cell of its first record."""
    found: dict[str, Named] = {}
    for one in DIALECTS:
        other = "" if one.activations == USUAL else f" ({one.activations})"
        for name in (one.framework, one.named):
            said = f"{name} is the cell {one.cell_name}{other}: {one.title}."
            found.setdefault(name, Named(one.cell, said))
    found.pop("", None)
    return found | {alias: found[name] for alias, name in ALIASES.items()}


def dialects(cell: Cell) -> tuple[Dialect, ...]:
    """The dialects of this cell, in the table's order."""
    return tuple(one for one in DIALECTS if one.cell == cell)


def of_name(name: str) -> list[Dialect]:
    """All dialects of a framework, or the one of that name.

    Raises InputError when nothing is called that; it says what is written most alike.
    """
    asked = called(name)
    found = [one for one in DIALECTS if asked and asked in (one.framework, one.named)]
    if not found:
        known = list(dict.fromkeys(one.framework for one in DIALECTS))
        every = [*known, *(one.named for one in DIALECTS if one.named), *ALIASES]
        raise InputError(
            f"no dialect is called {name[:100]!r}{nearest(name, every)}; there are"
            f" {', '.join(known)}"
        )
    return found


def find(name: str, cell: str | Cell | None = None) -> Dialect:
    """The dialect of that name; of a framework with several, the one of ``cell``.

    Without a cell the framework's first is meant: its default GRU. Raises InputError when
    nothing is called that, or when it has other cells only.
    """
    expect("a dialect is named by a text, as torch or keras", name, str)
    wanted = CELLS.get(cell, cell) if isinstance(cell, str) else cell
    named = of_name(name)
    if wanted is None:
        return named[0]
    for one in named:
        if one.cell == wanted:
            return one
    cells = ", ".join(f"{one.cell_name} ({one.title})" for one in named)
    called = wanted.name if isinstance(wanted, Cell) else wanted
    raise InputError(f"dialect {name} does not spell the cell {called}; it spells {cells}")
