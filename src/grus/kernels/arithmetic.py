"""What each operation of the loop language gives, in NumPy: the same bits as on a machine."""

from __future__ import annotations

import operator as op
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from grus.kernels.loops import Argument, Form, Lanes, Type

Array = np.ndarray[Any, np.dtype[Any]]
Meaning = Callable[..., Any]
DTYPES = {"bit": "?", "byte": "u1", "int8": "i1", "bfloat16": "u2", "int32": "i4", "float32": "f4"}
WORD = 1 << 64


@lru_cache(maxsize=256)
def dtype_of(type_: Type) -> np.dtype[Any]:
    """The numbers of a type: integers and addresses have 64 bits where nothing else is said."""
    return np.dtype(DTYPES.get(type_.kind, "f8" if type_.kind == "float64" else "i8"))


def constant(value: Argument, of: Type) -> Any:
    """A constant as a value of a type."""
    if isinstance(value, Lanes):
        return np.arange(of.lanes, dtype=dtype_of(of))
    if of.kind in ("float32", "float64"):
        return np.full(of.lanes, value, dtype_of(of)) if of.lanes else dtype_of(of).type(value)
    if not of.lanes:
        return value
    if of.kind == "bit":
        return np.full(of.lanes, value, bool)
    wide = np.full(of.lanes, _signed(int(value)), "i8")  # type: ignore[arg-type]
    return wide.astype(dtype_of(of))


def _signed(value: int) -> int:
    """The 64 low bits, as a number with a sign."""
    return (value + WORD // 2) % WORD - WORD // 2


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    if np.asarray(a).dtype == np.float32:
        return _fma_single(a, b, c)
    parts = np.broadcast_arrays(a, b, c)
    rounded = [_fma_double(*map(float, p)) for p in zip(*map(np.ravel, parts), strict=True)]
    return np.reshape(np.array(rounded), np.shape(a))


def _fma_single(a: Any, b: Any, c: Any) -> Any:
    """The product of two float32 is exact in float64. Its sum is rounded to odd there, so that
    rounding it once more, to float32, gives what one rounding of the exact sum would."""
    product, c = np.multiply(a, b, dtype="f8"), np.asarray(c, "f8")
    total = product + c
    other = total - product
    rest = (product - (total - other)) + (c - other)
    bits = total.view("i8")
    even = (bits & 1 == 0) & (rest != 0) & np.isfinite(total)
    away = np.where((rest > 0) == (total > 0), 1, -1)
    return np.where(even, bits + away, bits).view("f8").astype("f4")


def _fma_double(a: float, b: float, c: float) -> float:
    simple = a * b + c
    if not np.isfinite([a, b, c]).all():
        return simple
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return simple if a * b == -c else 0.0
    try:
        return float(exact)
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")


def _round_pairs(high: Array, low: Array) -> Array:
    """Two vectors as bfloat16, the second in the lower half; denormals are 0."""
    both = np.concatenate([low, high])
    both = np.where(np.abs(both) < np.finfo("f4").tiny, both * np.float32(0), both)
    bits = both.view("u4")
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    quiet = (bits >> 16) | np.uint32(0x40)
    return np.where(np.isnan(both), quiet, rounded).astype("u2")


def _dot_pairs(total: Array, a: Array, b: Array) -> Array:
    """The products of odd lanes, then those of even ones, each added with one rounding."""
    wide = [(v.astype("u4") << 16).view("f4") for v in (a, b)]
    for first in (1, 0):
        total = fma(wide[0][first::2], wide[1][first::2], total)
    return total


def _truncated(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _unsigned(values: Any, of: Type) -> Any:
    return values.view(f"u{dtype_of(of).itemsize}") if of.lanes else values % WORD


ARITHMETIC: dict[str, Meaning] = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
ARITHMETIC |= {"div": np.divide, "fma": fma, "neg": np.negative, "sqrt": np.sqrt}
ARITHMETIC |= {"abs": np.abs, "copysign": np.copysign, "shl": np.left_shift}
ARITHMETIC |= {"round_pairs": _round_pairs, "dot_pairs": _dot_pairs}
ARITHMETIC |= {"byte_product": lambda a, b: np.int32(a) * np.int32(b)}
WHOLE: dict[str, Meaning] = {
    "add": lambda a, b: _signed(a + b),
    "sub": lambda a, b: _signed(a - b),
    "mul": lambda a, b: _signed(a * b),
    "div": _truncated,
    "rem": lambda a, b: a - b * _truncated(a, b),
    "shl": lambda a, b: _signed(a << b),
}
"""Of one integer, which is Python's."""
EITHER: dict[str, Meaning] = {"and": op.and_, "or": op.or_, "xor": op.xor, "at": op.add}
EITHER |= {"less": op.lt, "at_most": op.le, "more": op.gt, "at_least": op.ge}
EITHER |= {"equal": op.eq, "differ": op.ne, "nan": lambda a: a != a}  # noqa: PLR0124
EITHER |= {"first": op.itemgetter(0), "address": lambda a: a}


@lru_cache(maxsize=4096)
def meaning(form: Form) -> Meaning:
    """What gives the value of an operation."""
    name, of, type_ = form.operation, form.of, form.type
    if name in BY_FORM:
        return BY_FORM[name](form)
    if name in EITHER:
        return EITHER[name]
    floats = of.kind in ("float32", "float64")
    return ARITHMETIC[name] if floats or type_.lanes else WHOLE[name]


def _select(form: Form) -> Meaning:
    if form.of.lanes:
        return np.where
    return lambda bit, a, b: a if bit else b


def _shuffle(form: Form) -> Meaning:
    order = np.array(form.detail)
    return lambda *parts: np.concatenate(parts)[order]


def _convert(form: Form) -> Meaning:
    kind = form.type.kind
    if kind == "int32":
        return lambda a: (a + (1 << 31)) % (1 << 32) - (1 << 31)
    return int if kind == "index" else dtype_of(form.type).type


def _shr(form: Form) -> Meaning:
    if not form.of.lanes:
        return lambda a, b: _signed((a % WORD) >> b)
    return lambda a, b: (_unsigned(a, form.of) >> _unsigned(b, form.of)).view(dtype_of(form.of))


BY_FORM: dict[str, Callable[[Form], Meaning]] = {
    "select": _select,
    "shuffle": _shuffle,
    "convert": _convert,
    "shr": _shr,
    "below": lambda form: lambda a, b: _unsigned(a, form.of) < _unsigned(b, form.of),
    "splat": lambda form: lambda a: np.full(form.type.lanes, a, dtype_of(form.type)),
    "bits": lambda form: lambda a: a.view(dtype_of(form.type)),
}
"""Meanings that depend on more than whether numbers are whole."""
