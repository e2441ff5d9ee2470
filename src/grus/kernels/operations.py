"""The operations of the loop language: for which types there is one, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn

from grus.kernels.loops import (
    BYTES,
    FLOATS,
    FUNCTION,
    INDEX,
    INTEGERS,
    LOCAL,
    POINTER,
    Detail,
    Do,
    Form,
    Lanes,
    LoopError,
    Program,
    Reference,
    Type,
    Value,
    statements,
    type_of,
)


def _refuse(operation: str, kinds: tuple[object, ...]) -> NoReturn:
    given = ", ".join(k.__name__ if isinstance(k, type) else str(k) for k in kinds)
    raise LoopError(f"{operation} does not take ({given})")


def _common(operation: str, kinds: tuple[object, ...]) -> Type:
    """The one type of arguments, constants among them."""
    types = {k for k in kinds if isinstance(k, Type)} or {INDEX}
    of = types.pop()
    floats = of.kind in FLOATS
    fit = (float, int) if floats else (bool,) if of.kind == "bit" else (int, Lanes)
    if types or any(not isinstance(k, Type) and k not in fit for k in kinds):
        _refuse(operation, kinds)
    return of


Rule = Callable[[str, tuple[object, ...], Type | None, Detail], tuple[Type, Type]]
"""(operation, types of the arguments, or classes of constants; type asked for, detail) -> (type of
the value, type of the arguments)."""


def _alike(count: int, *families: dict[str, int]) -> Rule:
    """So many arguments of one type, which the value has too."""
    kinds = {kind for family in families for kind in family}

    def rule(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
        of = _common(op, types)
        if len(types) != count or of.kind not in kinds:
            _refuse(op, types)
        return of, of

    return rule


def _compares(*families: dict[str, int], count: int = 2) -> Rule:
    like = _alike(count, *families)

    def rule(op: str, types: tuple[object, ...], *rest: object) -> tuple[Type, Type]:
        of, _ = like(op, types, None, None)
        return type_of("bit", of.lanes), of

    return rule


def _select(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    if len(types) != 3 or not isinstance(types[0], Type) or types[0].kind != "bit":
        _refuse(op, types)
    of = _common(op, (*types[1:], want) if want else types[1:])
    if types[0].lanes not in (0, of.lanes):
        _refuse(op, types)
    return of, types[0]


def _splat(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    if want is None or not want.lanes or len(types) != 1:
        _refuse(op, types)
    return want, _common(op, (*types, type_of(want.kind)))


def _first(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    of = _common(op, types)
    return type_of(of.kind), of


def _shuffle(
    op: str, types: tuple[object, ...], want: Type | None, order: Detail
) -> tuple[Type, Type]:
    of = _common(op, types)
    if not isinstance(order, tuple) or not of.lanes or len(types) not in (1, 2):
        _refuse(op, types)
    if not all(0 <= k < of.lanes * len(types) for k in order):
        raise LoopError(f"shuffle of {of} has no lane {max(order)}")
    return type_of(of.kind, len(order)), of


def _bits(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    of = _common(op, types)
    size = BYTES[of.kind] * (of.lanes or 1)
    if want is None or len(types) != 1 or size != BYTES[want.kind] * (want.lanes or 1):
        _refuse(op, types)
    return want, of


CONVERSIONS = {("index", "int32"), ("int32", "index"), ("bit", "index")}
CONVERSIONS |= {("index", kind) for kind in FLOATS}


def _convert(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    of = _common(op, types)
    if want is None or (of.kind, want.kind) not in CONVERSIONS or of.lanes != want.lanes:
        _refuse(op, types)
    return want, of


def _address(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    """What a number leads to: memory, or a function of another program."""
    if types != (INDEX,) or want not in (None, POINTER, FUNCTION):
        _refuse(op, types)
    return want or POINTER, INDEX


def _at(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    if len(types) != 2 or types[0] not in (POINTER, LOCAL) or types[1] not in (INDEX, int):
        _refuse(op, types)
    return types[0], INDEX


def _local(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    """Its two constants are bytes and alignment."""
    if types != (int, int):
        _refuse(op, types)
    return LOCAL, INDEX


def _load(
    op: str, types: tuple[object, ...], want: Type | None, align: Detail
) -> tuple[Type, Type]:
    masked = len(types) == 2
    if want is None or not isinstance(align, int) or types[0] not in (POINTER, LOCAL):
        _refuse(op, types)
    if masked and types[1] is not type_of("bit", want.lanes):
        _refuse(op, types)
    return want, types[0]


def _take(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    """The number that stands there, which all threads count up one after the other."""
    if types != (POINTER,):
        _refuse(op, types)
    return INDEX, POINTER


def _round_pairs(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    of = _common(op, types)
    if of.kind != "float32" or len(types) != 2:
        _refuse(op, types)
    return type_of("bfloat16", 2 * of.lanes), of


def _dot_pairs(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    total, pairs = types[0], {*types[1:]}
    if not isinstance(total, Type) or pairs != {type_of("bfloat16", 2 * total.lanes)}:
        _refuse(op, types)
    return total, total


_ANY, _WHOLE = _alike(2, FLOATS, INTEGERS), _alike(2, INTEGERS)
OPERATIONS: dict[str, Rule] = {
    "add": _ANY,
    "sub": _ANY,
    "mul": _ANY,
    "div": _ANY,
    "rem": _WHOLE,
    "fma": _alike(3, FLOATS),
    "neg": _alike(1, FLOATS),
    "sqrt": _alike(1, FLOATS),
    "abs": _alike(1, FLOATS),
    "copysign": _alike(2, FLOATS),
    "and": _alike(2, INTEGERS, {"bit": 0}),
    "or": _alike(2, INTEGERS, {"bit": 0}),
    "xor": _alike(2, INTEGERS, {"bit": 0}),
    "shl": _WHOLE,
    "shr": _WHOLE,
    "less": _compares(FLOATS, INTEGERS),
    "at_most": _compares(FLOATS, INTEGERS),
    "more": _compares(FLOATS, INTEGERS),
    "at_least": _compares(FLOATS, INTEGERS),
    "equal": _compares(INTEGERS),
    "differ": _compares(INTEGERS),
    "below": _compares(INTEGERS),
    "nan": _compares(FLOATS, count=1),
    "select": _select,
    "splat": _splat,
    "first": _first,
    "shuffle": _shuffle,
    "bits": _bits,
    "convert": _convert,
    "address": _address,
    "at": _at,
    "local": _local,
    "load": _load,
    "take": _take,
    "round_pairs": _round_pairs,
    "dot_pairs": _dot_pairs,
}


@lru_cache(maxsize=4096)
def signature(operation: str, types: tuple[object, ...], want: Type | None, detail: Detail) -> Form:
    """The form of an operation, for types or classes of constants, the type asked for and the
    detail. Raises LoopError for what does not fit."""
    if operation not in OPERATIONS:
        raise LoopError(f"there is no operation {operation}")
    type_, of = OPERATIONS[operation](operation, types, want, detail)
    if want not in (None, type_):
        raise LoopError(f"{operation} gives {type_}, not {want}")
    return Form(operation, types, of, type_, detail)


EFFECTS: dict[str, tuple[tuple[Type, ...], ...]] = {
    "copy": ((POINTER, LOCAL), (POINTER, LOCAL), (INDEX,)),
    "parallel": ((POINTER,), (INDEX,)),
    "barrier": ((POINTER,), (INDEX,)),
    "post": ((POINTER,),),
    "await": ((POINTER,),),
}
"""What each argument of an effect may be; `store` and `call` have rules of their own. What
threads meet at is no local."""


@lru_cache(maxsize=1024)
def allowed(effect: str, types: tuple[object, ...], of: Type) -> None:
    """Raise LoopError where the arguments of an effect do not fit."""
    if effect == "store":
        value, *rest = types
        _common(effect, (of, value))
        good = rest[0] in (POINTER, LOCAL) and rest[1:] in ([], [type_of("bit", of.lanes)])
    elif effect == "call":
        good = all(isinstance(k, Type) or k in (int, Reference) for k in types)
    elif effect not in EFFECTS:
        raise LoopError(f"there is no effect {effect}")
    else:
        wanted = EFFECTS[effect]
        good = len(types) == len(wanted) and all(
            k in w or (k is int and INDEX in w) for k, w in zip(types, wanted, strict=True)
        )
    if not good:
        _refuse(effect, types)


def check_calls(program: Program) -> None:
    """Raise LoopError for a call of a function that is not there, or with other arguments than it
    takes. What a value of type function is called with is seen when it is called."""
    for function in program.functions:
        for statement in statements(function.body):
            if isinstance(statement, Do) and statement.effect in ("call", "parallel"):
                _check_call(program, statement)


def _check_call(program: Program, call: Do) -> None:
    name = call.detail
    if name is None:
        return
    if name not in program.by_name:
        raise LoopError(f"there is no function {name}")
    wanted = [p.type for p in program.by_name[str(name)].parameters]
    given: list[object] = [*kinds_of_call(call)]
    if call.effect == "parallel":
        given = [POINTER, INDEX, INDEX]
    fits = len(wanted) == len(given) and all(
        g is w or (w is POINTER and g is LOCAL) for g, w in zip(given, wanted, strict=True)
    )
    if not fits:
        raise LoopError(f"{name} does not take ({', '.join(map(str, given))})")


def kinds_of_call(call: Do) -> list[Type]:
    """The types of a call's arguments."""
    return [
        a.type if isinstance(a, Value) else FUNCTION if isinstance(a, Reference) else INDEX
        for a in call.arguments
    ]
