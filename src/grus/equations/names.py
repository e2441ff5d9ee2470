"""Finding a cell: by its name, by the name people know it by, or in a file of one's own."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from grus.equations.cell import Cell
from grus.equations.cells import CELLS
from grus.equations.expr import CellError
from grus.equations.hold import held_at, read_values


@dataclass(frozen=True, slots=True)
class KnownAs:
    """A name people know, the cell it means, and why."""

    name: str
    cell: str
    why: str


KNOWN_AS = {
    known.name: known
    for known in (
        KnownAs(
            "cho2014",
            "gru_reset_before",
            "Cho et al. 2014 (arXiv 1406.1078v3) resets the state before the product and z keeps"
            " the state; v1 of the same paper resets after it",
        ),
        KnownAs(
            "chung2014",
            "gru_reset_before_admit",
            "Chung et al. 2014 (arXiv 1412.3555) resets before the product and z admits the"
            " candidate",
        ),
        KnownAs(
            "keras",
            "gru",
            "Keras' default since TF 2 is reset_after=True, z keeps the state; with"
            " reset_after=False it is gru_reset_before",
        ),
        KnownAs("torch", "gru", "PyTorch and cuDNN reset after the product, z keeps the state"),
        KnownAs(
            "d2l",
            "gru_reset_before",
            "Dive into Deep Learning's from-scratch cell resets before the product, z keeps the"
            " state; its concise version is the framework's own cell",
        ),
        KnownAs(
            "wikipedia",
            "gru_reset_before_admit",
            "Wikipedia's fully gated unit resets before the product and z admits the candidate",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Named:
    """A cell and how it came by a name; ``said`` is one line, empty for a cell's own name."""

    cell: Cell
    said: str = ""


Table = Callable[[], Mapping[str, Named]]
_TABLES: list[Table] = []


def also_known(table: Table) -> None:
    """Have `cell` know the names of a room above too; ``table`` is called when one is asked for."""
    _TABLES.append(table)


@cache
def _elsewhere() -> dict[str, Named]:
    return {name: named for table in _TABLES for name, named in table().items()}


def plain(name: str) -> str:
    """A name without regard to case, spaces around it, and whether it has - or _."""
    return name.strip().lower().replace("-", "_")


def named(spec: str) -> Named | None:
    """The cell of that name; None where nothing is called that.

    A name is one of `CELLS`, of `KNOWN_AS`, or a dialect's, read as `plain` has it.
    """
    name = plain(spec)
    if name in CELLS:
        return Named(CELLS[name])
    known = KNOWN_AS.get(name)
    if known is not None:
        said = f"{known.name} is the cell {known.cell}: {known.why}."
        return Named(CELLS[known.cell], said)
    return _elsewhere().get(name)


def cell(spec: str | Cell | type[Cell]) -> Cell:
    """The cell that ``spec`` names.

    Accepts a cell, one of `CELLS` (``"gru"``), a name people know (``"chung2014"``), a dialect's
    (``"haiku"``), all without regard to case, or ``"FILE.py:Name"``, which runs that file as
    Python and takes the cell called Name from it. Any of these with values in brackets,
    ``"gru[r=1,z=0]"``, is that cell with them held (`hold`).

    Raises CellError listing the choices, the nearest first, when nothing is called that.
    """
    if isinstance(spec, Cell):
        return spec
    if not isinstance(spec, str):
        raise CellError(f"a cell is a name or a Cell, not {type(spec).__name__}")
    base, values = held(spec)
    if values:
        return held_at(cell(base), values)
    if ":" in spec:
        return _from_file(spec)
    found = named(spec)
    if found is not None:
        return found.cell
    close = nearest(spec, [*CELLS, *KNOWN_AS, *_elsewhere()])
    raise CellError(
        f"no cell is called {spec[:200]!r}{close}; cells: {', '.join(CELLS)}; also known as:"
        f" {', '.join(KNOWN_AS)}; or a dialect that `grus dialects` lists, or FILE.py:Name for one"
        " of your own"
    )


def nearest(name: str, known: list[str]) -> str:
    """The question whether the name that is written most alike is meant; empty where none is."""
    found = get_close_matches(plain(name[:200]), known, 1)
    return f" (did you mean {found[0]}?)" if found else ""


def hold(spec: str | Cell | type[Cell], /, **values: float) -> Cell:
    """A cell with gates, or other named values, held at numbers: a cell like any other.

    ``spec`` is whatever `cell` takes. The numbers are put into the equations, and what they make
    trivial goes, with the weights that nothing reads any more: ``hold("gru", r=1, z=0)`` is the
    plain network n = tanh(W.n @ x + b.n + m), h_next = n, and r=0, z=1 the constant state
    h_next = h. States keep their order, and the output stays the same one. `hold_weights` takes the
    weights that are left from those of the whole cell, `layers.held.hold_layer` those of a layer.

    Raises CellError for a name that the cell has not, a state or an output (they are results), a
    number that is not finite, and where nothing is left that could be a cell.
    """
    return held_at(cell(spec), values)


def held(spec: str) -> tuple[str, dict[str, float]]:
    """The name of a cell and what is held in it: ``"gru[r=1,z=0]"`` is ("gru", {r: 1, z: 0}).

    Raises CellError for brackets that hold anything else.
    """
    base, bracket, inside = spec.rstrip().removesuffix("]").rpartition("[")
    if not (bracket and spec.rstrip().endswith("]")):
        return spec, {}
    return base, read_values(inside)


def separate(specs: str) -> list[str]:
    """The names of cells in a list, divided by commas outside brackets."""
    found, depth = [""], 0
    for letter in specs:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth <= 0:
            found.append("")
        else:
            found[-1] += letter
    return [name.strip() for name in found if name.strip()]


def explain_name(spec: str) -> str:
    """One line that says which cell a name means and why; empty for a cell's own name."""
    found = named(held(spec)[0])
    return found.said if found else ""


def _from_file(spec: str) -> Cell:
    file, _, name = spec.rpartition(":")
    path = Path(file)
    try:
        found_file = path.is_file()
    except OSError:  # a name too long to be one
        found_file = False
    if not found_file:
        raise CellError(f"{spec[:200]!r}: there is no file {file[:200]!r}")
    module_spec = importlib.util.spec_from_file_location(f"grus_cell_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise CellError(f"{spec!r}: {file!r} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except CellError as error:
        raise CellError(f"{_place(path, error)}: {error}") from None
    except (Exception, SystemExit) as error:
        raise CellError(
            f"{_place(path, error)}: running it raised {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, Cell):
        cells = [key for key, value in vars(module).items() if isinstance(value, Cell)]
        raise CellError(f"{spec!r}: no cell {name!r} in {file!r}; it has {cells}")
    return found


def _place(path: Path, error: BaseException) -> str:
    """The file and its line at which an error came up."""
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(path)
    ]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno or 0)
    return f"{path}, line {lines[-1]}" if lines else str(path)
