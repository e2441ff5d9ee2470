"""What each operator does in the loop language, and how an expression becomes operations.

exp, sigmoid, tanh, log and softplus are vector arithmetic, each beside its plain meaning.

The first three rest on one kernel: for u <= 0, with n = round(u / ln 2) and r = u - n ln 2, so that
|r| <= ln(2)/2,

    expm1(u) = 2^n (e^r - 1) + (2^n - 1),        e^r - 1 = r + r^2/2! + ... + r^m/m!

The series is cut where the first term left out, relative to r, is below a quarter of a unit in
the last place: (ln2/2)^m / (m+1)! is 1.5e-8 for m = 7 and 1.2e-17 for m = 13.

    tanh(v)    = -sign(v) E / (2 + E),   E = expm1(-2|v|)     exactly +-1 once E rounds to -1
    sigmoid(v) = 1 / (1 + e^-v)                               exactly 0 and 1 when saturated

Logarithms are an inverse hyperbolic tangent, with s = (m - 1) / (m + 1):

    log m = 2 (s + s^3/3 + s^5/5 + ...)

cut by the same rule. log(v) is log m + n ln 2 for v = 2^n m, m between 1/sqrt(2) and sqrt(2), so
|s| <= 0.172; softplus(v) = max(v, 0) + log(1 + e^-|v|), where s = e / (2 + e) <= 1/3 and no
1 + e is rounded.

NaN goes through all of them: every choice is a compare-and-select that keeps NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grus.equations import Apply, Const, Expr
from grus.kernels.builder import Builder
from grus.kernels.loops import Argument, Value


@dataclass(frozen=True)
class Precision:
    """The constants of one number type."""

    terms: int
    """Terms of the series of e^r - 1."""
    ln2_high: float
    """ln 2 rounded so that n * ln2_high is exact for every n that occurs."""
    ln2_low: float
    magic: float
    """1.5 * 2^(mantissa bits): adding it rounds to an integer, kept in the low bits."""
    mantissa: int
    bias: int
    lowest: float
    """Below it e^v is taken as 0 (its logarithm is that of the smallest normal number)."""
    highest: float
    """Above it e^v is infinite: the largest number whose exponential is not."""
    twice: float
    """From here on 2^n may be infinite where e^v is not; half of it is used, twice."""
    logs: tuple[int, int]
    """Terms of the series of a logarithm for |s| <= 0.172, and for s <= 1/3."""
    root: int
    """The bits of 1/sqrt(2)."""
    smallest: float
    """The smallest normal number."""


SINGLE = Precision(
    terms=7,
    ln2_high=0.693359375,
    ln2_low=math.log(2) - 0.693359375,
    magic=1.5 * 2.0**23,
    mantissa=23,
    bias=127,
    lowest=-87.0,
    highest=float.fromhex("0x1.62e42ep+6"),
    twice=88.0,
    logs=(5, 7),
    root=0x3F3504F3,
    smallest=2.0**-126,
)
DOUBLE = Precision(
    terms=13,
    ln2_high=float.fromhex("0x1.62e42fee00000p-1"),
    ln2_low=float.fromhex("0x1.a39ef35793c76p-33"),
    magic=1.5 * 2.0**52,
    mantissa=52,
    bias=1023,
    lowest=-708.0,
    highest=float.fromhex("0x1.62e42fefa39efp+9"),
    twice=709.0,
    logs=(10, 16),
    root=0x3FE6A09E667F3BCD,
    smallest=2.0**-1022,
)


def precision(f: Builder) -> Precision:
    """The constants for the function's number type."""
    return SINGLE if f.target.dtype == "float32" else DOUBLE


def scale_and_series(f: Builder, u: Argument) -> tuple[Value, Value]:
    """(2^n, e^r - 1) for u within the range of normal results."""
    t, k = f.target, precision(f)
    shifted = f.multiply_add(u, 1 / math.log(2), k.magic)
    n = f.let("sub", shifted, k.magic)
    r = f.multiply_add(n, -k.ln2_high, u)
    r = f.multiply_add(n, -k.ln2_low, r)
    bits = f.let("bits", shifted, type=t.integers)
    power = f.let("shl", f.let("add", bits, k.bias), k.mantissa)
    scale = f.let("bits", power, type=t.vector)
    series: Argument = 1 / math.factorial(k.terms)
    for j in range(k.terms - 1, 1, -1):
        series = f.multiply_add(series, r, 1 / math.factorial(j))
    return scale, f.multiply_add(f.let("mul", r, r), series, r)


def choose(
    f: Builder, relation: str, v: Argument, bound: float, yes: Argument, no: Argument
) -> Value:
    """``yes`` in lanes where v is in the relation to bound, else ``no``; NaN takes ``no``."""
    return f.let("select", f.let(relation, v, bound), yes, no, type=f.target.vector)


def exp(f: Builder, v: Argument) -> Value:
    """e^v: 0 below -87 (-708 in double), infinite where the number type cannot hold it."""
    t, k = f.target, precision(f)
    inside = choose(f, "less", v, k.lowest, k.lowest, v)
    inside = choose(f, "more", inside, k.highest, k.highest, inside)
    scale, series = scale_and_series(f, inside)
    high = f.let("more", inside, k.twice)
    bits = f.let("bits", scale, type=t.integers)
    bits = f.let("select", high, f.let("sub", bits, 1 << k.mantissa), bits)
    scale = f.let("bits", bits, type=t.vector)
    value = f.multiply_add(scale, series, scale)
    value = f.let("select", high, f.let("add", value, value), value)
    value = choose(f, "less", v, k.lowest, 0.0, value)
    return choose(f, "more", v, k.highest, math.inf, value)


def sigmoid(f: Builder, v: Argument) -> Value:
    """1 / (1 + e^-v), exactly 1 from about 17 (37 in double) and exactly 0 below -87 (-708)."""
    k = precision(f)
    inside = choose(f, "less", v, k.lowest, k.lowest, v)
    inside = choose(f, "more", inside, -k.lowest, -k.lowest, inside)
    scale, series = scale_and_series(f, f.let("neg", inside))
    e = f.multiply_add(scale, series, scale)
    value = f.let("div", 1.0, f.let("add", e, 1.0))
    return choose(f, "less", v, k.lowest, 0.0, value)


def tanh(f: Builder, v: Argument) -> Value:
    """-sign(v) E / (2 + E) with E = expm1(-2|v|); odd, and accurate near 0."""
    k = precision(f)
    size = f.let("abs", v)
    limit = -k.lowest / 2
    size = choose(f, "more", size, limit, limit, size)
    scale, series = scale_and_series(f, f.let("mul", size, -2.0))
    e = f.multiply_add(scale, series, f.let("add", scale, -1.0))
    ratio = f.let("div", e, f.let("add", e, 2.0))
    return f.let("copysign", f.let("neg", ratio), v)


def twice_artanh(f: Builder, s: Value, terms: int) -> Value:
    """2 (s + s^3/3 + ...), so many terms; the first is added last."""
    square = f.let("mul", s, s)
    series: Argument = 2 / (2 * terms - 1)
    for j in range(terms - 2, 0, -1):
        series = f.multiply_add(series, square, 2 / (2 * j + 1))
    cube = f.let("mul", square, s)
    return f.multiply_add(series, cube, f.let("add", s, s))


def log(f: Builder, v: Argument) -> Value:
    """The natural logarithm; -infinite at 0, NaN below it."""
    t, k = f.target, precision(f)
    small = f.let("less", v, k.smallest)
    up = 2.0 ** (k.mantissa + 1)  # a number below the normal ones becomes one
    scaled = f.let("select", small, f.let("mul", v, up), v, type=t.vector)
    # Counted from 1/sqrt(2), the exponent's bits are n + bias and the rest is m's.
    offset = (k.bias << k.mantissa) - k.root
    bits = f.let("add", f.let("bits", scaled, type=t.integers), offset)
    rest = f.let("and", bits, (1 << k.mantissa) - 1)
    m = f.let("bits", f.let("add", rest, k.root), type=t.vector)
    # An integer in the low bits of 1.5 * 2^(mantissa bits) is that number added to it.
    magic = f.let("bits", f.let("splat", k.magic, type=t.vector), type=t.integers)
    whole = f.let("bits", f.let("add", magic, f.let("shr", bits, k.mantissa)), type=t.vector)
    n = f.let("sub", f.let("sub", whole, k.magic), float(k.bias))
    n = f.let("select", small, f.let("sub", n, float(k.mantissa + 1)), n, type=t.vector)
    s = f.let("div", f.let("sub", m, 1.0), f.let("add", m, 1.0))
    value = f.multiply_add(n, k.ln2_low, twice_artanh(f, s, k.logs[0]))
    value = f.multiply_add(n, k.ln2_high, value)
    value = choose(f, "more", v, dtype_max(k), math.inf, value)
    value = choose(f, "at_most", v, 0.0, -math.inf, value)
    value = choose(f, "less", v, 0.0, math.nan, value)
    return f.let("select", f.let("nan", v), v, value) if isinstance(v, Value) else value


def dtype_max(k: Precision) -> float:
    """The largest finite number."""
    return (2 - 2.0**-k.mantissa) * 2.0**k.bias


def softplus(f: Builder, v: Argument) -> Value:
    """log(1 + e^v), as exact far below 0, where it is e^v, as above."""
    e = exp(f, f.let("neg", f.let("abs", v)))
    s = f.let("div", e, f.let("add", e, 2.0))
    return f.let("add", _relu(f, v), twice_artanh(f, s, precision(f).logs[1]))


Spelling = Callable[..., Argument]


def _unary(name: str) -> Spelling:
    return lambda f, v: f.let(name, v)


def _binary(name: str) -> Spelling:
    return lambda f, a, b: f.let(name, a, b)


def _neg(f: Builder, v: Argument) -> Argument:
    return -v if isinstance(v, float) else f.let("neg", v)


def _relu(f: Builder, v: Argument) -> Value:
    return choose(f, "at_most", v, 0.0, 0.0, v)


def _positive(f: Builder, v: Argument) -> Value:
    return choose(f, "more", v, 0.0, 1.0, 0.0)


def _pick(relation: str) -> Spelling:
    """minimum and maximum; NaN in either argument comes out (minnum would swallow it)."""

    def spell(f: Builder, a: Argument, b: Argument) -> Value:
        value = f.let("select", f.let(relation, a, b), a, b)
        return f.let("select", f.let("nan", a), a, value) if isinstance(a, Value) else value

    return spell


SPELLINGS: dict[str, Spelling] = {
    **{name: _binary(name) for name in ("add", "sub", "mul", "div")},
    "sqrt": _unary("sqrt"),
    "neg": _neg,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": _relu,
    "exp": exp,
    "log": log,
    "softplus": softplus,
    "positive": _positive,
    "minimum": _pick("less"),
    "maximum": _pick("more"),
}


def compute(f: Builder, expr: Expr, values: Mapping[Expr, Argument]) -> Argument:
    """Build an expression whose leaves are in registers."""
    if isinstance(expr, Const):
        return float(expr.value)
    if not isinstance(expr, Apply):
        return values[expr]
    return _fused(f, expr, values) or SPELLINGS[expr.op](f, *_computed(f, expr, values))


def _computed(f: Builder, expr: Apply, values: Mapping[Expr, Argument]) -> list[Argument]:
    """An operator's arguments. Constants alone have no type: one of them becomes a vector."""
    arguments = [compute(f, arg, values) for arg in expr.args]
    if not any(isinstance(argument, Value) for argument in arguments):
        arguments[0] = f.let("splat", arguments[0], type=f.target.vector)
    return arguments


def _fused(f: Builder, expr: Apply, values: Mapping[Expr, Argument]) -> Value | None:
    """a * b + c and c - a * b as one operation; written, never left to a compiler, so that every
    tile has the same bits."""
    if expr.op not in ("add", "sub"):
        return None
    left, right = expr.args
    if isinstance(left, Apply) and left.op == "mul":
        a, b = _computed(f, left, values)
        c = compute(f, right, values)
        return f.multiply_add(a, b, SPELLINGS["neg"](f, c) if expr.op == "sub" else c)
    if isinstance(right, Apply) and right.op == "mul":
        a, b = _computed(f, right, values)
        c = compute(f, left, values)
        return f.multiply_add(SPELLINGS["neg"](f, a) if expr.op == "sub" else a, b, c)
    return None
