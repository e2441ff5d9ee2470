"""Pickle's opcodes, read as data: nothing is looked up, called or built but what is listed here.

A pickle is a program for a small stack machine. Python's own machine imports and calls whatever
the program names. This one knows plain values and the handful of names that the caller gives, and
calls nothing: it hands back what the program would have called, as a `Call`.

Memory and work are bounded by the file's size: every instruction counts `VALUE` bytes and what its
argument takes against the file's budget, and keys and numbers are short, so that none of them costs
more than that each time it is used.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

from grus.errors import InputError
from grus.weight_file import Budget, one_line

MAX_VALUES = 2_000_000
VALUE = 256
"""Bytes that one instruction may take: a dictionary, its place on the stack and in the memo."""
MAX_KEY = 4096
MAX_BITS = 512
ORDERED = "collections OrderedDict"
_MARK = object()


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle refers to; it is never imported."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """What the pickle would have called, and with what."""

    function: Global
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Persistent:
    """A reference to something stored beside the pickle."""

    key: Any


class PickleMachine:
    """Runs a pickle that may name ``known``, and ``beside``, whose objects are left empty."""

    def __init__(
        self, known: Collection[str], budget: Budget, beside: Collection[str] = ()
    ) -> None:
        self.known = known
        self.beside = beside
        self.budget = budget
        self.referred: list[Persistent] = []
        self.count = 0
        """The instructions that were read."""
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes | BinaryIO) -> Any:
        """The value of the pickle; of a file, the one that begins where it stands.

        Raises InputError for all that is not plain data.
        """
        self.stack, self.memo = [], {}
        try:
            for opcode, argument, _ in pickletools.genops(program):
                self._pay(argument)
                if opcode.name == "STOP":
                    return self.stack.pop()
                step = _STEPS.get(opcode.name)
                if step is None:
                    raise InputError(
                        f"its pickle holds the instruction {opcode.name}, which plain weights"
                        " do not need; nothing was executed"
                    )
                step(self, argument)
        except InputError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise InputError(f"its pickle is damaged: {one_line(error)}") from None
        raise InputError("its pickle is cut short")

    def _pay(self, argument: Any) -> None:
        """Count one instruction and its argument."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise InputError(f"its pickle has more than {MAX_VALUES} instructions")
        if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
            raise InputError(f"its pickle holds a number of more than {MAX_BITS} bits")
        self.budget.take(VALUE + sys.getsizeof(argument), "its pickle")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Take what stands above the last mark, and the mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def name(self, name: str) -> None:
        """Refer to a name."""
        if name not in self.known and name not in self.beside:
            raise InputError(
                f"its pickle names {one_line(name)[:80]!r}; a file of weights names tensors only."
                " Nothing was executed. Save the state_dict alone:"
                " torch.save(model.state_dict(), FILE)"
            )
        self.push(Global(name))

    def call(self, *, make: bool = False) -> None:
        """Hand back what would have been called, or made."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if make and getattr(function, "name", "") not in self.beside:
            raise InputError("its pickle makes an object that is no weight. Nothing was executed")
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise InputError("its pickle calls what is no function. Nothing was executed")
        if function.name == ORDERED and not arguments:
            self.push({})
        else:
            self.push(Call(function, arguments))

    def refer(self, key: Any) -> None:
        """Refer to what is stored beside the pickle."""
        self.referred.append(Persistent(key))
        self.push(self.referred[-1])

    def set_items(self, items: list[Any]) -> None:
        """Put pairs into the dictionary on top. Keys are text and numbers."""
        target = self.stack[-1]
        if isinstance(target, Call) and target.function.name in self.beside:
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("items without a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (str, int, float, type(None))):
                raise ValueError("a key that is neither text nor number")
            if isinstance(key, str) and len(key) > MAX_KEY:
                raise InputError(f"its pickle has a name of more than {MAX_KEY} characters")
            target[key] = value

    def append(self, items: list[Any]) -> None:
        """Put values at the end of the list on top."""
        if not isinstance(self.stack[-1], list):
            raise ValueError("items without a list")
        self.stack[-1].extend(items)

    def build(self) -> None:
        """The state of an object: that of a dictionary (``_metadata``) says nothing of weights."""
        self.stack.pop()
        top = self.stack[-1]
        beside = isinstance(top, Call) and top.function.name in self.beside
        if not isinstance(top, dict) and not beside:
            raise InputError("its pickle sets the state of an object. Nothing was executed")

    def pop(self, count: int) -> tuple[Any, ...]:
        """Take ``count`` values, the deepest first."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        found = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return found


Step = Callable[[PickleMachine, Any], Any]


def _make(value: Callable[[], Any]) -> Step:
    return lambda machine, _: machine.push(value())


def _tuple(count: int) -> Step:
    return lambda machine, _: machine.push(machine.pop(count))


def _put(machine: PickleMachine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


_STEPS: dict[str, Step] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _make(lambda: _MARK),
    "POP": lambda machine, _: machine.pop(1),
    "NONE": _make(lambda: None),
    "NEWTRUE": _make(lambda: True),
    "NEWFALSE": _make(lambda: False),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "INT", "LONG1", "LONG4", "BINFLOAT"), PickleMachine.push
    ),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), PickleMachine.push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), PickleMachine.push),
    "EMPTY_TUPLE": _make(tuple),
    "EMPTY_LIST": _make(list),
    "EMPTY_DICT": _make(dict),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    **{f"TUPLE{n}": _tuple(n) for n in (1, 2, 3)},
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append(list(machine.pop(1))),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.pop(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"), _put),
    **dict.fromkeys(
        ("BINGET", "LONG_BINGET", "GET"), lambda machine, at: machine.push(machine.memo[at])
    ),
    "GLOBAL": PickleMachine.name,
    "STACK_GLOBAL": lambda machine, _: machine.name(" ".join(machine.pop(2))),
    "BINPERSID": lambda machine, _: machine.refer(*machine.pop(1)),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(make=True),
    "BUILD": lambda machine, _: machine.build(),
}
"""Opcode -> what it does. The opcodes that make, find or call objects otherwise are not here."""
