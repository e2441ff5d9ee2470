"""The loop language: what kernels do, between the plan and the text of a machine.

A `Program` is functions; a function is statements: `Let` (a value of an operation), `Do` (an
effect), `For`, `If`. Every value has a type and one definition. Integers are 64 bits wide where
nothing else is written; comparisons give bits, one for each lane of a vector.

    value = operation ...     add mul fma · less · select · splat shuffle · at · load take · ...
    effect ...                store copy · call parallel · barrier post await

`operations` lists all, with the types that each takes; `to_llvm` prints them. Types and names are
checked where a statement is made, calls where a program is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache


class LoopError(ValueError):
    """A program that the language does not allow; the message names the statement."""


@dataclass(frozen=True, eq=False, slots=True)
class Type:
    """A kind of number, or a vector of ``lanes`` of them; there is one object of each type."""

    kind: str
    lanes: int = 0
    """0: one number."""

    def __str__(self) -> str:
        return f"{self.kind}[{self.lanes}]" if self.lanes else self.kind

    def __reduce__(self) -> tuple[object, ...]:
        return type_of, (self.kind, self.lanes)


def type_of(kind: str, lanes: int = 0) -> Type:
    """The type of a kind, or of vectors of it."""
    return _type_of(kind, lanes)


@lru_cache(maxsize=256)
def _type_of(kind: str, lanes: int) -> Type:
    if kind not in BYTES:
        raise LoopError(f"there is no type {kind}")
    return Type(kind, lanes)


FLOATS = {"float32": 4, "float64": 8}
INTEGERS = {"index": 8, "int32": 4, "byte": 1, "int8": 1}
BYTES = {**FLOATS, **INTEGERS, "bit": 0, "bfloat16": 2, "pointer": 8, "local": 8, "function": 8}
"""Bytes of each kind. A pointer's space is its kind: all threads share memory that a ``pointer``
leads to, one function call alone has what is ``local``."""
BIT, INDEX, INT32, BYTE, INT8 = map(type_of, ("bit", "index", "int32", "byte", "int8"))
POINTER, LOCAL, FUNCTION = map(type_of, ("pointer", "local", "function"))


class Value:
    """A name with a type; the block in which it was defined is open while that is being built."""

    __slots__ = ("block", "name", "type")

    def __init__(self, name: str, type_: Type, block: Block) -> None:
        self.name, self.type, self.block = name, type_, block

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Reference:
    """A function as an argument."""

    name: str


class Lanes:
    """0, 1, 2, ... in the lanes of a vector."""


LANES = Lanes()
Argument = Value | int | float | Reference | Lanes
"""A constant has the type of what it stands beside, and stands in all lanes; 0 and False are no
bits of a mask."""
Detail = None | int | str | Type | tuple[int, ...]


class Block(list["Statement"]):
    """Statements one after the other; while it is ``open`` they may read what it defines."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = True


@dataclass(frozen=True, eq=False, slots=True)
class Form:
    """An operation on arguments of certain types; there is one object of each (`signature`).

    ``types`` are the arguments' types, or classes of constants; ``of`` is the type that they have
    in common, of a `select` the type of its first; ``type`` is the value's. ``detail`` is the
    alignment of a load, or the order of a shuffle.
    """

    operation: str
    types: tuple[object, ...]
    of: Type
    type: Type
    detail: Detail


@dataclass(eq=False, slots=True)
class Let:
    """``value = operation arguments``."""

    value: Value
    form: Form
    arguments: tuple[Argument, ...]


@dataclass(eq=False, slots=True)
class Do:
    """An effect. ``of`` is the type that is stored; ``detail`` the alignment of a store, or the
    function that is called."""

    effect: str
    arguments: tuple[Argument, ...]
    of: Type
    detail: Detail = None


@dataclass(eq=False, slots=True)
class For:
    """``for index in range(start, stop, step)``. ``carried`` begin at ``first`` and are ``after``
    when the body ends; they keep their last values behind the loop."""

    index: Value
    start: Argument
    stop: Argument
    step: Argument
    carried: tuple[Value, ...]
    first: tuple[Argument, ...]
    body: Block
    after: list[Argument]


@dataclass(eq=False, slots=True)
class If:
    """The body where the bit is set."""

    bit: Value
    body: Block


Statement = Let | Do | For | If


@dataclass(frozen=True, eq=False)
class Function:
    """``once``: it runs once in a call, so it is to be compiled quickly rather than well.
    ``nearest``: its thread rounds to nearest and keeps denormals until it is over. ``alone``: only
    its first parameter leads to the memory that that leads to."""

    name: str
    parameters: tuple[Value, ...]
    body: Block
    once: bool = False
    nearest: bool = False
    alone: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """Functions; what is called from outside is ``run``, with the address of a block. Programs are
    equal if they look alike."""

    functions: tuple[Function, ...]
    by_name: dict[str, Function] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {f.name: f for f in self.functions})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def kind(argument: Argument) -> object:
    """The type of a value, the class of a constant. Raises LoopError for a value that is not known
    any more."""
    if isinstance(argument, Value):
        if not argument.block.open:
            raise LoopError(f"{argument} is not known outside of the block that defines it")
        return argument.type
    return argument.__class__


def kinds(arguments: Sequence[Argument]) -> tuple[object, ...]:
    """`kind` of several."""
    return tuple(map(kind, arguments))


def statements(block: Block) -> Iterator[Statement]:
    """All statements of a block, inner ones behind their outer one."""
    for statement in block:
        yield statement
        if isinstance(statement, (For, If)):
            yield from statements(statement.body)
