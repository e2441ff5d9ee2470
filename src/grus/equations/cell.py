"""`Cell`: named equations for one step, checked when they are built, a frozen value ever after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any

from grus.equations import latex, text
from grus.equations.blocks import with_blocks, without_blocks
from grus.equations.checks import (
    NEXT,
    check_equations,
    check_positions,
    check_size,
    check_used,
)
from grus.equations.expr import Apply, CellError, Expr, Input, Name, State, Weight, parts, walk
from grus.equations.operators import is_gather, linear, numbers_after
from grus.equations.shapes import Shapes, infer
from grus.errors import InputError

MAX_TEXT = 100_000


class _Body(dict[str, Any]):
    """The namespace of a cell's class body: keeps equations in order, hands out references."""

    def __init__(self) -> None:
        super().__init__()
        self.equations: list[tuple[str, Expr]] = []

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setitem__(name, value)
            return
        if name in self:
            raise CellError(f"{name} is given a value twice")
        if isinstance(value, (int, float)):
            super().__setitem__(name, value)
            return
        if not isinstance(value, Expr):
            raise CellError(f"{name} must be an equation or a number, not {type(value).__name__}")
        self.equations.append((name, value))
        super().__setitem__(name, Name(name))


class _CellMaker(type):
    """Makes ``class GRU(Cell): ...`` yield a `Cell` value instead of a class."""

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **_: Any) -> dict[str, Any]:
        return _Body() if bases else {}

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], /) -> Any:
        if not isinstance(body, _Body):
            return super().__new__(mcs, name, bases, body)
        doc = " ".join(str(body.get("__doc__") or "").split())
        return Cell(_snake(name), tuple(body.equations), doc, unused=False)


def _are_equations(equations: object) -> bool:
    """True for a tuple of (name, expression)."""
    return isinstance(equations, tuple) and all(
        isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], Expr) for one in equations
    )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@dataclass(frozen=True, eq=False)
class Cell(metaclass=_CellMaker):
    """The equations of one step of a recurrent network.

    Written as a class body (``class GRU(Cell): r = sigmoid(W.r @ x + ...)``) or read from text
    (`Cell.parse`). Two cells are equal when their equations are; name and doc do not count.

    Raises CellError when a name is unknown, rebound or reserved, when axes do not fit, when a
    state has no next value, or, without ``unused``, where nothing uses an equation; a cell that is
    derived may have such equations, as a backward step has.
    """

    name: str
    equations: tuple[tuple[str, Expr], ...]
    doc: str = ""
    _hash: int = field(init=False, repr=False, default=0)
    unused: InitVar[bool] = field(default=True, kw_only=True)

    def __post_init__(self, unused: bool) -> None:
        if not isinstance(self.name, str) or not _are_equations(self.equations):
            raise CellError(
                "a cell is a name and a tuple of (name, expression); Cell.parse reads text"
            )
        try:
            for _, expr in self.equations:
                check_size(expr, parts)
            check_equations(self.equations, self.states)
            check_positions(self.nodes)
            if not unused:
                check_used(self.equations, self.states)
            object.__setattr__(self, "_hash", hash(self.equations))
            self.shapes  # noqa: B018  building it is the check that axes fit
        except CellError as error:
            raise CellError(f"cell {self.name}: {error}") from None

    # What follows is computed from the equations, never declared.

    @cached_property
    def nodes(self) -> tuple[Expr, ...]:
        """Every node of every equation, in reading order."""
        return tuple(node for _, expr in self.equations for node in walk(expr))

    @cached_property
    def states(self) -> tuple[str, ...]:
        """State names in the order in which the equations first read them."""
        given = [name[: -len(NEXT)] for name, _ in self.equations if name.endswith(NEXT)]
        read = dict.fromkeys(n.name for n in self.nodes if isinstance(n, State))
        return tuple(dict.fromkeys([*(s for s in read if s in given), *given]))

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """x, if it is used, the further inputs and the masks."""
        return tuple(dict.fromkeys(n for n in self.nodes if isinstance(n, Input)))

    @cached_property
    def further(self) -> tuple[Input, ...]:
        """The inputs beside x that arrive at each step, by name: in a layer's row they stand behind
        x in this order."""
        arrive = [i for i in self.inputs if i.name != "x" and i.per != "sequence" and not i.keep]
        return tuple(sorted(arrive, key=lambda i: i.name))

    @cached_property
    def masks(self) -> tuple[Input, ...]:
        """The masks that are drawn, in the order of the equations."""
        return tuple(i for i in self.inputs if i.keep is not None)

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """Weights in the order of the equations; a family stacks its gates in this order."""
        return tuple(dict.fromkeys(n for n in self.nodes if isinstance(n, Weight)))

    @cached_property
    def families(self) -> dict[str, tuple[str, ...]]:
        """Family letter -> its gates in stacking order, e.g. ``{"W": ("r", "z", "n"), ...}``."""
        found: dict[str, tuple[str, ...]] = {}
        for weight in self.weights:
            found[weight.family] = (*found.get(weight.family, ()), weight.gate)
        return found

    @cached_property
    def gathers(self) -> tuple[Apply, ...]:
        """The operators that read other positions than their own: ``patches``, ``neighbours``."""
        return tuple(n for n in self.nodes if isinstance(n, Apply) and is_gather(n))

    @cached_property
    def positions(self) -> int:
        """How many axes a value has for positions: 0, 1 for a line or a graph, 2 for an image."""
        return max((len(g.args) - 1 if g.op == "patches" else 1 for g in self.gathers), default=0)

    @cached_property
    def matrices(self) -> int:
        """How many matrices of a graph ``neighbours`` reads."""
        read = [max(numbers_after(g), default=0) for g in self.gathers if g.op == "neighbours"]
        return max(read, default=-1) + 1

    @cached_property
    def output(self) -> str:
        """The equation that is the output: ``y`` if there is one, else the first next state."""
        named = {name for name, _ in self.equations}
        return "y" if "y" in named else self.states[0] + NEXT

    @cached_property
    def shapes(self) -> Shapes:
        """The axes of all weights, values and states."""
        shapes = infer(self.equations, self.states, self.output)
        for family, gates in self.families.items():
            kinds: dict[str, list[str]] = {}
            for gate in gates:
                axes = " x ".join(shapes.spelled(Weight(family, gate)))
                kinds.setdefault(axes, []).append(gate)
            if len(kinds) > 1:
                said = "; ".join(
                    f"{', '.join(f'{family}.{gate}' for gate in having)} {axes}"
                    for axes, having in kinds.items()
                )
                raise CellError(
                    f"the weights of family {family} have different shapes ({said}): no equation"
                    " says that their axes are one; use another letter for some of them, or say it,"
                    f" as in ... + 0 * {self.states[0]}"
                )
        return shapes

    def family_axes(self, family: str) -> tuple[str, ...]:
        """The axes of one weight of this family: (rows, columns) or (axis,)."""
        return self.shapes.weights[Weight(family, self.families[family][0])]

    def family_shape(self, family: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of the stacked family, given the size of each axis by name."""
        first, *rest = self.weight_shape(family, sizes)
        return (len(self.families[family]) * first, *rest)

    def weight_shape(self, family: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of one weight of this family, given the size of each axis by name."""
        axes = self.family_axes(family)
        first, *rest = (sizes[axis] for axis in axes)
        places, count = self.reading(family)
        uneven = [axis for axis in axes if len(axes) == 2 and sizes[axis] % count]
        if uneven:
            raise InputError(
                f"cell {self.name}: {family} has {count} blocks, so that {uneven[0]} must be a"
                f" multiple of {count}, got {sizes[uneven[0]]}"
            )
        return (first, *(places * size // count for size in rest))

    def reading(self, family: str) -> tuple[int, int]:
        """Of this family's matrices: how many positions they read at once, under the window of
        ``patches``, and how many blocks they have."""
        weight = Weight(family, self.families[family][0])
        return self.shapes.places.get(weight, 1), self.shapes.blocks.get(weight, 1)

    def operand_size(self, family: str, columns: int) -> int:
        """How long the operand is that this family's matrices read, which have so many columns."""
        places, count = self.reading(family)
        return columns * count // places

    def in_blocks(self, count: int) -> Cell:
        """The cell with ``count`` blocks in all its matrices, or, where equations say themselves
        which have blocks, in those.

        Raises InputError for what is no number of blocks, CellError for a cell without matrices.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InputError(f"blocks must be a whole number from 1 up, got {count!r}")
        if not self.shapes.blocks:
            raise CellError(f"cell {self.name} has no matrix that could have blocks")
        marked = any(n > 1 for n in self.shapes.blocks.values())

        def changed(node: Expr) -> Expr:
            if not isinstance(node, Apply):
                return node
            first, *rest = map(changed, node.args)
            if linear(node):
                operand, before = without_blocks(rest[0])
                rest = [with_blocks(operand, count) if before > 1 or not marked else operand]
            return Apply(node.op, (first, *rest))

        equations = tuple((name, changed(expr)) for name, expr in self.equations)
        return Cell(self.name, equations, self.doc)

    def __getitem__(self, name: str) -> Expr:
        """The right side of the equation called ``name``."""
        for given, expr in self.equations:
            if given == name:
                return expr
        raise KeyError(f"cell {self.name} has no equation {name}")

    def __iter__(self) -> Iterator[tuple[str, Expr]]:
        return iter(self.equations)

    def __len__(self) -> int:
        return len(self.equations)

    def __eq__(self, other: object) -> bool:
        # Trees are compared only where the hashes are equal: cells are asked for by the million.
        return self is other or (
            isinstance(other, Cell)
            and self._hash == other._hash
            and self.equations == other.equations
        )

    def __hash__(self) -> int:
        return self._hash

    # Showing and reading back.

    def __str__(self) -> str:
        return "\n".join(f"{name} = {text.show(expr)}" for name, expr in self.equations)

    def __repr__(self) -> str:
        return f"<Cell {self.name}: {'; '.join(str(self).splitlines())}>"

    def latex(self) -> str:
        """The equations as a LaTeX ``aligned`` block."""
        return latex.aligned(self.equations, self.states)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    @classmethod
    def parse(cls, source: str, name: str = "cell", doc: str = "", *, unused: bool = False) -> Cell:
        """Read the text that ``str(cell)`` prints; nothing in it is executed.

        Blank lines and ``#`` comments are skipped. ``unused`` allows equations that nothing uses.
        Raises CellError with the line at fault.
        """
        if len(source) > MAX_TEXT:
            raise CellError(f"cell {name}: text of {len(source)} characters, limit {MAX_TEXT}")
        lines = [line.split("#")[0].strip() for line in source.splitlines()]
        pairs = [line.partition("=")[::2] for line in lines if line]
        names = [left.strip() for left, _ in pairs]
        states = frozenset(n[: -len(NEXT)] for n in names if n.endswith(NEXT))
        equations: list[tuple[str, Expr]] = []
        for left, right in zip(names, (right for _, right in pairs), strict=True):
            known = frozenset(n for n, _ in equations)
            try:
                equations.append((left, text.read(right, states, known)))
            except CellError as error:
                raise CellError(f"cell {name}: in {left} = ...: {error}") from None
        return cls(name, tuple(equations), doc, unused=unused)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (str(self), self.name, self.doc))


def _rebuild(source: str, name: str, doc: str) -> Cell:
    return Cell.parse(source, name, doc, unused=True)
