"""The operations of the loop language: for which types there is one, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NoReturn

from grus.kernels.loops import (
    BYTE,
    BYTES,
    FLOATS,
    FUNCTION,
    INDEX,
    INT8,
    INT32,
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
    listed = ", ".join(k.__name__ if isinstance(k, type) else str(k) for k in kinds)
    raise LoopError(f"{operation} does not take ({listed})")


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


def _alike(count: int, *families: dict[str, int], bits: bool = False) -> Rule:
    """So many arguments of one type, which the value has too; or a bit, one for each lane."""
    kinds = {kind for family in families for kind in family}

    def rule(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
        of = _common(op, types)
        if len(types) != count or of.kind not in kinds:
            _refuse(op, types)
        return type_of("bit", of.lanes) if bits else of, of

    return rule


def _fits(types: tuple[object, ...], wanted: Sequence[tuple[object, ...]]) -> bool:
    return len(types) == len(wanted) and all(k in w for k, w in zip(types, wanted, strict=True))


def _of(value: Type | None, of: Type, *wanted: tuple[object, ...]) -> Rule:
    """Each argument is one of some types; a value that has no type of its own has the first's."""

    def rule(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
        if not _fits(types, wanted):
            _refuse(op, types)
        return value or types[0], of  # type: ignore[return-value]

    return rule


def _select(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    if len(types) != 3 or not isinstance(types[0], Type) or types[0].kind != "bit":
        _refuse(op, types)
    of = _common(op, (*types[1:], want) if want else types[1:])
    if types[0].lanes not in (0, of.lanes):
        _refuse(op, types)
    return of, types[0]


def _splat(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    if want is None or len(types) != 1:
        _refuse(op, types)
    return want, _common(op, (*types, type_of(want.kind)))


def _first(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    of = _common(op, types)
    return type_of(of.kind), of


def _shuffle(op: str, types: tuple[object, ...], _: object, order: Detail) -> tuple[Type, Type]:
    of = _common(op, types)
    if not isinstance(order, tuple) or not of.lanes or len(types) not in (1, 2):
        _refuse(op, types)
    if not all(0 <= k < of.lanes * len(types) for k in order):
        raise LoopError(f"shuffle of {of} has no lane {max(order)}")
    return type_of(of.kind, len(order)), of


CONVERSIONS = {("index", "int32"), ("int32", "index"), ("bit", "index")}
CONVERSIONS |= {("int32", "byte"), ("int32", "float32")}
CONVERSIONS |= {("index", kind) for kind in FLOATS}


def _changed(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    """The same bits as another type, or the same number."""
    of = _common(op, types)
    if want is None or len(types) != 1:
        _refuse(op, types)
    sizes = [BYTES[t.kind] * (t.lanes or 1) for t in (of, want)]
    converts = (of.kind, want.kind) in CONVERSIONS and of.lanes == want.lanes
    if not (sizes[0] == sizes[1] if op == "bits" else converts):
        _refuse(op, types)
    return want, of


def _address(op: str, types: tuple[object, ...], want: Type | None, _: Detail) -> tuple[Type, Type]:
    """What a number leads to: memory, or a function of another program."""
    if types != (INDEX,) or want not in (None, POINTER, FUNCTION):
        _refuse(op, types)
    return want or POINTER, INDEX


def _load(op: str, types: tuple[object, ...], want: Type | None, at: Detail) -> tuple[Type, Type]:
    mask = () if want is None or len(types) == 1 else ((type_of("bit", want.lanes),),)
    if want is None or not isinstance(at, int) or not _fits(types, (PLACES, *mask)):
        _refuse(op, types)
    return want, types[0]  # type: ignore[return-value]


def _round_pairs(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    of = _common(op, types)
    if of.kind != "float32" or len(types) != 2:
        _refuse(op, types)
    return type_of("bfloat16", 2 * of.lanes), of


def _byte_product(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    if types != (INT8, BYTE):
        _refuse(op, types)
    return INT32, INT8


def _dot_pairs(op: str, types: tuple[object, ...], *_: object) -> tuple[Type, Type]:
    total, pairs = types[0], {*types[1:]}
    if not isinstance(total, Type) or pairs != {type_of("bfloat16", 2 * total.lanes)}:
        _refuse(op, types)
    return total, total


PLACES = (POINTER, LOCAL)
RULES: tuple[tuple[str, Rule], ...] = (
    ("add sub mul div", _alike(2, FLOATS, INTEGERS)),
    ("rem shl shr", _alike(2, INTEGERS)),
    ("neg sqrt abs", _alike(1, FLOATS)),
    ("copysign", _alike(2, FLOATS)),
    ("fma", _alike(3, FLOATS)),
    ("and or xor", _alike(2, INTEGERS, {"bit": 0})),
    ("less at_most more at_least", _alike(2, FLOATS, INTEGERS, bits=True)),
    ("equal differ below", _alike(2, INTEGERS, bits=True)),
    ("nan", _alike(1, FLOATS, bits=True)),
    ("select", _select),
    ("splat", _splat),
    ("first", _first),
    ("shuffle", _shuffle),
    ("bits convert", _changed),
    ("address", _address),
    ("at", _of(None, INDEX, PLACES, (INDEX, int))),
    ("local", _of(LOCAL, INDEX, (int,), (int,))),  # bytes and alignment
    ("load", _load),
    ("take", _of(INDEX, POINTER, (POINTER,))),  # the number there, which all threads count up
    ("round_pairs", _round_pairs),
    ("dot_pairs", _dot_pairs),
    ("byte_product", _byte_product),  # of one number with a sign and one without
)
OPERATIONS = {name: rule for names, rule in RULES for name in names.split()}


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


EFFECTS: dict[str, tuple[tuple[object, ...], ...]] = {
    "copy": (PLACES, PLACES, (INDEX, int)),
    "parallel": ((POINTER,), (INDEX, int)),
    "barrier": ((POINTER,), (INDEX, int)),
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
        good = rest[0] in PLACES and rest[1:] in ([], [type_of("bit", of.lanes)])
    elif effect == "call":
        good = all(isinstance(k, Type) or k in (int, Reference) for k in types)
    elif effect in EFFECTS:
        good = _fits(types, EFFECTS[effect])
    else:
        raise LoopError(f"there is no effect {effect}")
    if not good:
        _refuse(effect, types)


def check_calls(program: Program) -> None:
    """Raise LoopError for a call of a function that is not there, or with other arguments than it
    takes. What a value of type function is called with is seen when it is called."""
    for function in program.functions:
        for s in statements(function.body):
            if isinstance(s, Do) and s.effect in ("call", "parallel") and s.detail is not None:
                _check_call(program, s)


def _check_call(program: Program, call: Do) -> None:
    name, types = str(call.detail), [POINTER, INDEX, INDEX]
    if name not in program.by_name:
        raise LoopError(f"there is no function {name}")
    if call.effect == "call":
        types = [
            a.type if isinstance(a, Value) else FUNCTION if isinstance(a, Reference) else INDEX
            for a in call.arguments
        ]
    wanted = [p.type for p in program.by_name[name].parameters]
    if not _fits(tuple(types), [PLACES if w is POINTER else (w,) for w in wanted]):
        raise LoopError(f"{name} does not take ({', '.join(map(str, types))})")
