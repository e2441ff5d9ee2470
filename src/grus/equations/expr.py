"""The nodes that an expression is made of: six kinds; what acts on them is in `operators`.

A vector has one axis (input, hidden, ...), found by `shapes.infer`, never declared; a number is a
scalar and fits any vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, NoReturn

from grus.errors import InputError

Per = Literal["step", "sequence", "number"]


class CellError(InputError):
    """An equation that cannot be; the message names the cell, the equation and the reason."""


class Expr:
    """A node of an expression; immutable, equal by structure.

    It has no value before a cell runs: whoever asks for its truth, its order or a part of it gets
    a CellError.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        raise _no_value(
            self, "is not true or false", "write z * a + (1 - z) * b for a choice between a and b"
        )

    def __lt__(self, other: object) -> NoReturn:
        raise _no_value(
            self, "cannot be compared", "positive(a - b) is 1 where a is above b, else 0"
        )

    __le__ = __gt__ = __ge__ = __lt__

    def __iter__(self) -> NoReturn:
        raise _no_value(self, "has no elements to go through", "operators act on all at once")

    def __getitem__(self, index: object) -> NoReturn:
        raise _no_value(self, "has no elements to choose", "operators act on all at once")

    def __contains__(self, other: object) -> NoReturn:
        raise _no_value(self, "has no elements to look among", "operators act on all at once")

    def __add__(self, other: Operand) -> Expr:
        return Apply("add", (self, as_expr(other)))

    def __radd__(self, other: Operand) -> Expr:
        return Apply("add", (as_expr(other), self))

    def __sub__(self, other: Operand) -> Expr:
        return Apply("sub", (self, as_expr(other)))

    def __rsub__(self, other: Operand) -> Expr:
        return Apply("sub", (as_expr(other), self))

    def __mul__(self, other: Operand) -> Expr:
        return Apply("mul", (self, as_expr(other)))

    def __rmul__(self, other: Operand) -> Expr:
        return Apply("mul", (as_expr(other), self))

    def __truediv__(self, other: Operand) -> Expr:
        return Apply("div", (self, as_expr(other)))

    def __rtruediv__(self, other: Operand) -> Expr:
        return Apply("div", (as_expr(other), self))

    def __matmul__(self, other: Expr) -> Expr:
        if not isinstance(self, Weight):
            raise TypeError(f"the left side of @ is a weight such as W.r, not {self!r}")
        return Apply("matmul", (self, as_expr(other)))

    def __neg__(self) -> Expr:
        # Minus a number is a number: -(2) and -2 would print alike and read back as one.
        return Const(-self.value) if isinstance(self, Const) else Apply("neg", (self,))


Operand = Expr | float | int


def _no_value(expr: Expr, what: str, instead: str) -> CellError:
    text = str(expr)  # `equations.text` has the spelling
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return CellError(f"{short} {what}: it has a value only when the cell runs; {instead}")


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A number."""

    value: float


@dataclass(frozen=True, slots=True)
class Input(Expr):
    """What arrives from outside: ``x``, or a mask given per step or once per sequence; ``number``
    is one number per step, the same for every unit of a row.

    With ``keep`` it does not arrive but is drawn, for each unit by itself: ``step.k(0.9)`` is 1
    with probability 0.9, else 0; ``step.k(0.8, 1.25)`` is 1.25 with probability 0.8, else 0.
    """

    name: str
    per: Per = "step"
    keep: float | None = None
    value: float = 1.0

    def __call__(self, keep: float, value: float = 1.0) -> Input:
        """The mask that is drawn for each unit: ``value`` with probability ``keep``, else 0."""
        return Input(self.name, self.per, float(keep), float(value))

    @property
    def expectation(self) -> float:
        """The mean of a drawn mask, which stands for it where no mask is drawn."""
        assert self.keep is not None
        mean = self.keep * self.value
        return 1.0 if math.isclose(mean, 1.0, rel_tol=1e-15) else mean


@dataclass(frozen=True, slots=True)
class State(Expr):
    """A state as this step finds it; the equation ``<name>_next`` gives its next value."""

    name: str


@dataclass(frozen=True, slots=True)
class Weight(Expr):
    """A learned matrix (left of @) or vector (anywhere else): ``W.r`` is family W, gate r."""

    family: str
    gate: str

    @property
    def name(self) -> str:
        """The dotted name, ``W.r``."""
        return f"{self.family}.{self.gate}"

    @property
    def T(self) -> Transposed:
        """The matrix transposed, for the left of @: ``U.h.T @ h``."""
        return Transposed(self)


@dataclass(frozen=True, slots=True)
class Transposed:
    """A weight on its way to the left of @; no node of an expression by itself."""

    weight: Weight

    def __matmul__(self, other: Expr) -> Expr:
        return Apply("matmul_t", (self.weight, as_expr(other)))


@dataclass(frozen=True, slots=True)
class Name(Expr):
    """The value of an earlier equation."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply(Expr):
    """An operator on its arguments."""

    op: str
    args: tuple[Expr, ...]


def _equality(node: type[Expr]) -> Callable[[Expr, object], bool]:
    """Equality by structure; with a number, which would always be False, it is refused."""
    fields = attrgetter(*tuple[str, ...](node.__slots__))

    def equal(self: Expr, other: object) -> Any:  # NotImplemented is no bool
        if other.__class__ is node:
            return fields(self) == fields(other)
        if isinstance(other, (int, float)):
            _ = self < other
        return NotImplemented

    return equal


for _node in (Const, Input, State, Weight, Name, Apply):
    _node.__eq__ = _equality(_node)  # type: ignore[method-assign, assignment]


def as_expr(value: object) -> Expr:
    """Turn a number into a node; refuse what has no meaning in an equation."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Const(float(value))
    raise TypeError(f"an equation takes expressions and numbers, not {type(value).__name__}")


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The arguments of a node; a leaf has none."""
    return expr.args if isinstance(expr, Apply) else ()


def walk(expr: Expr) -> list[Expr]:
    """Every node of the tree, arguments before the node that uses them, left to right."""
    found: list[Expr] = []
    for part in parts(expr):
        found += walk(part)
    return [*found, expr]
