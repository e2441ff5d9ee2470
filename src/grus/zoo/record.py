"""What is known of a published cell beside its equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from grus.equations import Cell, Weight

Made = TypeVar("Made")
"""A cell, which to a type checker is the class of its body."""
LONGEST = "longest"
"""Stands for the longest lag that matters, in steps, which a layer is given."""
KINDS = {
    "uniform": ("low", "high"),
    "log_uniform": ("low", "high"),
    "normal": ("deviation",),
    "normal_by_inputs": ("variance",),
    "uniform_by_inputs": ("variance",),
    "glorot_uniform": (),
    "orthogonal": (),
    "identity": (),
    "ramp": ("first", "last", "power"),
    "decay": ("low", "high"),
}
"""Distributions and their numbers. log_uniform: the logarithm of a uniform number. by_inputs: the
variance is divided by the number of columns. ramp: from the first unit to the last, the way
between them raised to a power. decay: what softplus takes to -log a, a squared being uniform
between low and high squared."""


@dataclass(frozen=True)
class Draw:
    """How a matrix or vector is drawn: a distribution of `KINDS`, and its numbers in that order."""

    kind: str
    numbers: tuple[float | str, ...] = ()
    """`LONGEST` stands for a number that a layer is given."""

    def __post_init__(self) -> None:
        if len(self.numbers) != len(KINDS[self.kind]):
            raise ValueError(f"{self.kind} takes {', '.join(KINDS[self.kind]) or 'no number'}")

    def at(self, longest: float | None) -> Draw:
        """The same with a number in the place of `LONGEST`."""
        numbers = (longest if number == LONGEST else number for number in self.numbers)
        return Draw(self.kind, tuple(number for number in numbers if number is not None))

    def __str__(self) -> str:
        shown = (n if isinstance(n, str) else f"{n:g}" for n in self.numbers)
        return f"{self.kind}({', '.join(shown)})" if self.numbers else self.kind


def draw(kind: str, *numbers: float | str) -> Draw:
    """A `Draw`, as records write it."""
    return Draw(kind, numbers)


Initial = Mapping[str, float | Draw]
"""By a weight's name (``"b.f"``) or a family's: a number for all of it, or how it is drawn."""


@dataclass(frozen=True)
class Published:
    """A cell as its authors published it."""

    cell: Cell
    year: int
    paper: str
    """Authors, title, where."""
    read_in: str
    """Where this definition was read: code and version; "recalled" where no code was at hand."""
    initial: Initial = field(default_factory=dict)
    """What training begins with; ``initial="paper"`` makes a layer begin so. Weights that are not
    among them are drawn as torch draws."""
    initial_read_in: str = ""

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.cell.name

    @property
    def needs(self) -> list[str]:
        """What a layer of the cell must be given beside sizes."""
        cell = self.cell
        grid = f"grid=({'length,' if cell.positions == 1 else 'height, width'})"
        where = f"graph= of {cell.matrices} matrices" if cell.matrices else grid
        equal = ["as many inputs as units"] if cell.shapes.equal else []
        return equal + ([where] if cell.gathers else [])

    @property
    def special(self) -> str:
        """What sets it apart, in a sentence."""
        return self.cell.doc

    @property
    def starts(self) -> dict[Weight, float | Draw]:
        """`initial`, weight by weight."""
        by_family = {w: self.initial.get(w.family) for w in self.cell.weights}
        starts = {w: self.initial.get(w.name, start) for w, start in by_family.items()}
        return {weight: start for weight, start in starts.items() if start is not None}

    @property
    def start(self) -> str:
        """`initial` in a line, and where it was read; empty where nothing is known."""
        shown = (
            f"{name} ~ {value}" if isinstance(value, Draw) else f"{name} = {value:g}"
            for name, value in self.initial.items()
        )
        return f"{', '.join(shown)} ({self.initial_read_in})" if self.initial else ""


PUBLISHED: dict[str, Published] = {}
"""Every published cell by its name."""


def published(
    year: int,
    paper: str,
    read_in: str,
    initial: Initial | None = None,
    initial_read_in: str = "",
) -> Callable[[Made], Made]:
    """A decorator that adds a cell to `PUBLISHED`.

    Raises ValueError for a second cell of that name, and for an initial value of a weight that
    the cell has not.
    """

    def add(made: Made) -> Made:
        cell = cast("Cell", made)
        known = {weight.name for weight in cell.weights} | set(cell.families)
        if cell.name in PUBLISHED or not set(initial or {}) <= known:
            raise ValueError(f"{cell.name}: a second cell of that name, or an unknown weight")
        PUBLISHED[cell.name] = Published(
            cell, year, paper, read_in, initial or {}, initial_read_in or "the authors' code"
        )
        return made

    return add
