"""exp, sigmoid and tanh as vector arithmetic, each beside its plain meaning and its error.

All three rest on one kernel: for u <= 0, with n = round(u / ln 2), r = u - n ln 2, |r| <= ln(2)/2,

    expm1(u) = 2^n (e^r - 1) + (2^n - 1),        e^r - 1 = r + r^2/2! + ... + r^m/m!

The series is cut where the first term left out, relative to r, is below a quarter of a unit in
the last place: (ln2/2)^m / (m+1)! is 1.5e-8 for m = 7 and 1.2e-17 for m = 13.

    tanh(v)    = -sign(v) E / (2 + E),   E = expm1(-2|v|)     exactly +-1 once E rounds to -1
    sigmoid(v) = 1 / (1 + e^-v)                               exactly 0 and 1 when saturated

NaN goes through all of them: every choice is a compare-and-select that keeps NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from grus.kernels.ir import Function


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
)


def precision(f: Function) -> Precision:
    """The constants for the function's number type."""
    return SINGLE if f.target.dtype == "float32" else DOUBLE


def scale_and_series(f: Function, u: str) -> tuple[str, str]:
    """(2^n, e^r - 1) for u within the range of normal results."""
    t, k = f.target, precision(f)
    shifted = f.multiply_add(u, t.splat(1 / math.log(2)), t.splat(k.magic))
    n = f.let(f"fsub {t.vector} {shifted}, {t.splat(k.magic)}")
    r = f.multiply_add(n, t.splat(-k.ln2_high), u)
    r = f.multiply_add(n, t.splat(-k.ln2_low), r)
    bits = f.let(f"bitcast {t.vector} {shifted} to {t.integers}")
    biased = f.let(f"add {t.integers} {bits}, {t.splat_int(k.bias)}")
    power = f.let(f"shl {t.integers} {biased}, {t.splat_int(k.mantissa)}")
    scale = f.let(f"bitcast {t.integers} {power} to {t.vector}")
    series = t.splat(1 / math.factorial(k.terms))
    for j in range(k.terms - 1, 1, -1):
        series = f.multiply_add(series, r, t.splat(1 / math.factorial(j)))
    square = f.let(f"fmul {t.vector} {r}, {r}")
    return scale, f.multiply_add(square, series, r)


def choose(f: Function, relation: str, v: str, bound: float, yes: str, no: str) -> str:
    """``yes`` in lanes where v is in the relation to bound, else ``no``; NaN takes ``no``."""
    t = f.target
    bit = f.let(f"fcmp {relation} {t.vector} {v}, {t.splat(bound)}")
    return f.let(f"select {t.mask} {bit}, {t.vector} {yes}, {t.vector} {no}")


def exp(f: Function, v: str) -> str:
    """e^v: 0 below -87 (-708 in double), infinite where the number type cannot hold it."""
    t, k = f.target, precision(f)
    inside = choose(f, "olt", v, k.lowest, t.splat(k.lowest), v)
    inside = choose(f, "ogt", inside, k.highest, t.splat(k.highest), inside)
    scale, series = scale_and_series(f, inside)
    high = f.let(f"fcmp ogt {t.vector} {inside}, {t.splat(k.twice)}")
    bits = f.let(f"bitcast {t.vector} {scale} to {t.integers}")
    less = f.let(f"sub {t.integers} {bits}, {t.splat_int(1 << k.mantissa)}")
    bits = f.let(f"select {t.mask} {high}, {t.integers} {less}, {t.integers} {bits}")
    scale = f.let(f"bitcast {t.integers} {bits} to {t.vector}")
    value = f.multiply_add(scale, series, scale)
    double = f.let(f"fadd {t.vector} {value}, {value}")
    value = f.let(f"select {t.mask} {high}, {t.vector} {double}, {t.vector} {value}")
    value = choose(f, "olt", v, k.lowest, "zeroinitializer", value)
    return choose(f, "ogt", v, k.highest, t.splat(math.inf), value)


def sigmoid(f: Function, v: str) -> str:
    """1 / (1 + e^-v), exactly 1 from about 17 (37 in double) and exactly 0 below -87 (-708)."""
    t, k = f.target, precision(f)
    inside = choose(f, "olt", v, k.lowest, t.splat(k.lowest), v)
    inside = choose(f, "ogt", inside, -k.lowest, t.splat(-k.lowest), inside)
    minus = f.let(f"fneg {t.vector} {inside}")
    scale, series = scale_and_series(f, minus)
    e = f.multiply_add(scale, series, scale)
    total = f.let(f"fadd {t.vector} {e}, {t.splat(1.0)}")
    value = f.let(f"fdiv {t.vector} {t.splat(1.0)}, {total}")
    return choose(f, "olt", v, k.lowest, "zeroinitializer", value)


def tanh(f: Function, v: str) -> str:
    """-sign(v) E / (2 + E) with E = expm1(-2|v|); odd, and accurate near 0."""
    t, k = f.target, precision(f)
    size = f.call(t.vector, f"llvm.fabs.{t.suffix}", f"{t.vector} {v}")
    limit = -k.lowest / 2
    size = choose(f, "ogt", size, limit, t.splat(limit), size)
    u = f.let(f"fmul {t.vector} {size}, {t.splat(-2.0)}")
    scale, series = scale_and_series(f, u)
    rest = f.let(f"fadd {t.vector} {scale}, {t.splat(-1.0)}")
    e = f.multiply_add(scale, series, rest)
    below = f.let(f"fadd {t.vector} {e}, {t.splat(2.0)}")
    ratio = f.let(f"fdiv {t.vector} {e}, {below}")
    value = f.let(f"fneg {t.vector} {ratio}")
    return f.call(t.vector, f"llvm.copysign.{t.suffix}", f"{t.vector} {value}", f"{t.vector} {v}")
