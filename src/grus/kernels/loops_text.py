"""The loop language as text, and back: `show` and `parse`, the one undoing the other.

function scale(ctx: pointer, count: index) once
  v1: index = load ctx align 8
  for i2 = 0 to count step 16 with c2.0: float32[16] = 0.0
    v3: float32[16] = load v2, v1 align 64
    next v3
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from grus.kernels.loops import (
    INDEX,
    LANES,
    Argument,
    Block,
    Detail,
    Do,
    For,
    Function,
    If,
    Lanes,
    Let,
    LoopError,
    Program,
    Reference,
    Type,
    Value,
    kinds,
    type_of,
)
from grus.kernels.operations import allowed, check_calls, signature

FLAGS = ("once", "nearest", "alone")
STEP = "  "


def show(program: Program) -> str:
    """The program as text."""
    return "\n\n".join("\n".join(_function(f)) for f in program.functions) + "\n"


Program.__str__ = show  # type: ignore[method-assign, assignment]


def _function(f: Function) -> Iterator[str]:
    parameters = ", ".join(f"{p.name}: {p.type}" for p in f.parameters)
    yield " ".join(
        [f"function {f.name}({parameters})", *(flag for flag in FLAGS if getattr(f, flag))]
    )
    yield from _block(f.body, STEP)


def _block(block: Block, indent: str) -> Iterator[str]:
    for s in block:
        if isinstance(s, Let):
            head = f"{indent}{s.value.name}: {s.value.type} = {s.form.operation}"
            yield f"{head} {_listed(s.arguments)}{_detail(s.form.detail)}"
        elif isinstance(s, Do):
            yield indent + _effect(s)
        elif isinstance(s, If):
            yield f"{indent}if {s.bit.name}"
            yield from _block(s.body, indent + STEP)
        else:
            pairs = zip(s.carried, s.first, strict=True)
            carried = ", ".join(f"{c.name}: {c.type} = {_shown(a)}" for c, a in pairs)
            ends = f"{_shown(s.start)} to {_shown(s.stop)} step {_shown(s.step)}"
            yield f"{indent}for {s.index.name} = {ends}{f' with {carried}' if carried else ''}"
            yield from _block(s.body, indent + STEP)
            if carried:
                yield f"{indent}{STEP}next {_listed(s.after)}"


def _effect(s: Do) -> str:
    if s.effect == "store":
        return f"store {s.of} {_listed(s.arguments)}{_detail(s.detail)}"
    if s.effect == "call":
        callee, arguments = f"@{s.detail}", s.arguments
        if s.detail is None:
            callee, arguments = _shown(arguments[0]), arguments[1:]
        return f"call {callee}({_listed(arguments)})"
    name = f" @{s.detail}," if s.detail else ""
    return f"{s.effect}{name} {_listed(s.arguments)}"


def _listed(arguments: Sequence[Argument]) -> str:
    return ", ".join(map(_shown, arguments))


def _shown(argument: Argument) -> str:
    if isinstance(argument, Value):
        return argument.name
    if isinstance(argument, Reference):
        return f"@{argument.name}"
    if isinstance(argument, Lanes):
        return "lanes"
    return repr(argument).lower()


def _detail(detail: Detail) -> str:
    if isinstance(detail, tuple):
        return " order " + " ".join(map(str, detail))
    return "" if detail is None else f" align {detail}"


def parse(text: str) -> Program:
    """The program that a text shows. Raises LoopError for what the language does not allow."""
    functions = []
    for part in text.strip().split("\n\n"):
        functions.append(_Reader(part.splitlines()).function())
    program = Program(tuple(functions))
    check_calls(program)
    return program


HEAD = re.compile(r"function ([\w.]+)\((.*)\)((?: \w+)*)")
LET = re.compile(r"([\w.]+): (\S+) = (\w+) ?(.*)")
LOOP = re.compile(r"for ([\w.]+) = (\S+) to (\S+) step (\S+)(?: with (.*))?")
CALL = re.compile(r"call (@?[\w.]+)\((.*)\)")
TYPE = re.compile(r"(\w+)(?:\[(\d+)\])?")
CARRIED = re.compile(r"([\w.]+): (\S+) = (\S+)")


@dataclass
class _Reader:
    """One function being read, line by line."""

    lines: list[str]
    at: int = 0
    values: dict[str, Value] = field(default_factory=dict)

    def function(self) -> Function:
        """The function."""
        name, listed, flags = self.match(HEAD, self.lines[0])
        body = Block()
        parameters = tuple(
            self.define(called, kind, body)
            for called, kind in (p.split(": ") for p in listed.split(", "))
        )
        unknown = {*flags.split()} - {*FLAGS}
        if unknown:
            raise LoopError(f"{name} is {unknown.pop()}, which is none of {', '.join(FLAGS)}")
        self.at = 1
        self.block(body, len(STEP))
        if self.at < len(self.lines):
            raise LoopError(f"{self.lines[self.at]!r} stands outside of the function {name}")
        body.open = False
        return Function(name, parameters, body, *(flag in flags.split() for flag in FLAGS))

    def match(self, pattern: re.Pattern[str], line: str) -> tuple[str, ...]:
        """The parts of a line."""
        match = pattern.fullmatch(line.strip())
        if not match:
            raise LoopError(f"cannot read {line!r}")
        return tuple(part or "" for part in match.groups())

    def type(self, text: str) -> Type:
        """A type."""
        kind, lanes = self.match(TYPE, text)
        return type_of(kind, int(lanes or 0))

    def define(self, name: str, kind: str | Type, block: Block) -> Value:
        """A new value."""
        if name in self.values:
            raise LoopError(f"{name} is defined twice")
        type_ = kind if isinstance(kind, Type) else self.type(kind)
        return self.values.setdefault(name, Value(name, type_, block))

    def argument(self, text: str) -> Argument:
        """A value that is known, or a constant."""
        if text in self.values:
            return self.values[text]
        if text.startswith("@"):
            return Reference(text[1:])
        if text in ("true", "false", "lanes"):
            return LANES if text == "lanes" else text == "true"
        try:
            return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
        except ValueError:
            raise LoopError(f"there is no value {text}") from None

    def arguments(self, text: str) -> tuple[Argument, ...]:
        """Several of them."""
        return tuple(map(self.argument, text.split(", "))) if text else ()

    def split(self, text: str) -> tuple[tuple[Argument, ...], Detail]:
        """Arguments and the detail behind them."""
        head, _, order = text.partition(" order ")
        if order:
            return self.arguments(head), tuple(map(int, order.split()))
        head, _, align = text.partition(" align ")
        return self.arguments(head), int(align) if align else None

    def block(self, block: Block, indent: int) -> list[Argument]:
        """The statements that stand so far in; gives what is carried on."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if len(line) - len(line.lstrip()) != indent:
                break
            self.at += 1
            word = line.split(maxsplit=1)[0]
            if word == "next":
                return [*self.arguments(line.strip().removeprefix("next "))]
            if word == "for":
                self.loop(block, line, indent)
            elif word == "if":
                self.when(block, line, indent)
            elif word.endswith(":"):
                self.let(block, line)
            else:
                self.effect(block, line.strip())
        return []

    def let(self, block: Block, line: str) -> None:
        """A value."""
        name, kind, operation, rest = self.match(LET, line)
        arguments, detail = self.split(rest)
        form = signature(operation, kinds(arguments), self.type(kind), detail)
        block.append(Let(self.define(name, form.type, block), form, arguments))

    def when(self, block: Block, line: str, indent: int) -> None:
        """A condition."""
        bit, body = self.argument(line.split()[1]), Block()
        if not isinstance(bit, Value) or kinds((bit,)) != (type_of("bit"),):
            raise LoopError(f"{line.strip()!r} asks for no bit")
        block.append(If(bit, body))
        self.block(body, indent + len(STEP))
        body.open = False

    def loop(self, block: Block, line: str, indent: int) -> None:
        """A loop."""
        name, *ends, listed = self.match(LOOP, line)
        start, stop, step = map(self.argument, ends)
        parts = [self.match(CARRIED, c) for c in listed.split(", ")] if listed else []
        first = tuple(self.argument(value) for _, _, value in parts)
        kinds((start, stop, step, *first))
        body = Block()
        carried = tuple(self.define(called, kind, block) for called, kind, _ in parts)
        loop = For(self.define(name, INDEX, body), start, stop, step, carried, first, body, [])
        block.append(loop)
        loop.after[:] = self.block(body, indent + len(STEP))
        kinds(loop.after)
        if len(loop.after) != len(carried):
            raise LoopError(f"{line.strip()!r} goes on with {len(loop.after)} values")
        body.open = False

    def effect(self, block: Block, line: str) -> None:
        """What gives no value."""
        word, _, rest = line.partition(" ")
        of, detail = INDEX, None
        arguments: tuple[Argument, ...]
        if word == "call":
            callee, rest = self.match(CALL, line)
            arguments = self.arguments(rest)
            if callee.startswith("@"):
                detail = callee[1:]
            else:
                arguments = (self.argument(callee), *arguments)
        elif word == "store":
            kind, _, rest = rest.partition(" ")
            of = self.type(kind)
            arguments, detail = self.split(rest)  # type: ignore[assignment]
        else:
            if rest.startswith("@"):
                detail, _, rest = rest[1:].partition(", ")
            arguments = self.arguments(rest)
        allowed(word, kinds(arguments), of)
        block.append(Do(word, arguments, of, detail))
