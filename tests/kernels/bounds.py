"""Running error analysis: what a kernel's arithmetic may be off by, derived as it goes.

u is the unit roundoff, 2^-24 or 2^-53: fl(a op b) = (a op b)(1 + d), |d| <= u; a fused a * b + c
rounds once where this analysis counts twice. A chain of n roundings multiplies a term by 1 + t,
|t| <= g(n) = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, lemma 3.1).

A value is carried as (value, error, size, roundings): exactly it is a sum of terms whose
magnitudes add up to ``size``; the terms as computed are off by at most ``error`` together, and
each meets at most ``roundings`` roundings while it is made and the sum is formed, in whatever
order. So the sum as computed is off by at most error + g(roundings) (size + error): `settle`. It
stays open as long as it is only added to, because a kernel forms such a sum in its own order.

The values themselves are computed in float64, whose errors obey the same rules with u = 2^-53;
the bounds are superadditive in u, so the sum of both units covers both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from grus.equations import Apply, Const, Expr
from grus.reference import NUMPY

Array = np.ndarray

# The kernels' e^v for v in the normal range, in units u (functions.py has the formulas). The
# argument is reduced to |r| <= ln(2)/2 = 0.35 with an error of 0.35 u for the last rounding and
# 0.03 u for ln2_low's; the series 1 + r + r^2 S has S = 0.6 at most, made with 3 roundings
# (0.12 * 0.6 * 3 u = 0.2 u), the term cut off is u/4 of r (0.1 u), r + r^2 S is rounded (0.41 u).
# Together 1.1 u beside a value of at least 0.7, and 2^n times it is rounded once more: 2.6 u.
EXP = 3.0
# 1 / (1 + e): a relative error d of e moves the result by s (1 - s) d, the sum and the quotient
# are rounded: s ((1 - s) 3 + 2) u, at most 25/12 u. Below `lowest` 0 is given: an error of 2^-125
# (2^-1021).
SIGMOID = 2.1
# -E / (2 + E), E = expm1(u), u <= 0. For n = 0: r = u exactly, errors 0.63 u + 0.25 u of r, and a
# rounding: 2.1 u of E. For n <= -1: at most half of (1.1 u), beside |E| >= 0.29, and a rounding:
# 3 u. The quotient multiplies that by 2 / (2 + E), 1.17 at E = -0.29 (and less than 2 where the
# first part has sunk below u), and adds two roundings: 5.6 u.
TANH = 6.0
# s = (m - 1) / (m + 1): the difference is exact, two roundings, 2 u; the series adds u/4 for what
# is cut off and a rounding: 3.5 u of log m, at most 0.35. Where n is 0 that is all; else n ln2_low
# is added (0.4 u) and the sum, at least 0.35, is rounded: (1.2 + 0.4) u / 0.35 + u.
LOG = 6.0
# e^-|v|: 3 u; 2 + e and the quotient: 2 u, all of it times at most 1.08, the slope of artanh; the
# series: 1.5 u; the sum with v is rounded. Below `lowest` e is 0.
SOFTPLUS = 8.5


@dataclass(frozen=True)
class Unit:
    """The arithmetic of a number type: unit roundoff, smallest subnormal, end of sigmoid."""

    u: float
    tiny: float
    lowest: float

    def g(self, roundings: int) -> float:
        """The relative error of so many roundings one after the other."""
        return roundings * self.u / (1 - roundings * self.u)


# Each plus 2^-53 for the value it is compared with.
UNITS = {
    "float32": Unit(2.0**-24 + 2.0**-53, 2.0**-149, 2.0**-125),
    "float64": Unit(2.0**-52, 2.0**-1074, 2.0**-1021),
}


@dataclass(frozen=True)
class Bounded:
    """A value, and what is known of its error; arrays of one shape, or numbers."""

    value: Array
    error: Array
    size: Array
    roundings: int = 0

    def settle(self, unit: Unit) -> Bounded:
        """The value as a single number, its roundings counted into its error."""
        if not self.roundings:
            return self
        error = self.error + unit.g(self.roundings) * (self.size + self.error)
        return Bounded(self.value, error, np.abs(self.value))

    def __neg__(self) -> Bounded:
        return Bounded(-self.value, self.error, self.size, self.roundings)

    def __add__(self, other: Bounded) -> Bounded:
        # In a sum of n terms each meets n - 1 additions at most, beside what made it.
        return Bounded(
            self.value + other.value,
            self.error + other.error,
            self.size + other.size,
            max(self.roundings, 1) + max(other.roundings, 1),
        )


@dataclass(frozen=True)
class InBlocks(Bounded):
    """The operand of a product of blocks, settled."""

    count: int = 1


def exact(value: Array | float) -> Bounded:
    """What the kernel is given: no error."""
    return Bounded(value, np.zeros_like(value), np.abs(value))


def constant(value: float, dtype: str) -> Bounded:
    """A number of the equations, rounded to the kernel's type."""
    rounded = float(np.dtype(dtype).type(value))
    return Bounded(np.float64(value), np.abs(rounded - value), np.abs(value))


def multiply(unit: Unit, a: Bounded, b: Bounded) -> Bounded:
    """(a + da)(b + db) - a b = a db + b da + da db; then one rounding, perhaps below normal."""
    size = np.abs(a.value * b.value)
    error = np.abs(a.value) * b.error + np.abs(b.value) * a.error + a.error * b.error
    return Bounded(a.value * b.value, error + unit.tiny, size, 1)


def divide(unit: Unit, a: Bounded, b: Bounded) -> Bounded:
    """(a + da)/(b + db) - a/b = (da - (a/b) db)/(b + db): without bound where b may be 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = a.value / b.value
        room = np.abs(b.value) - b.error
        error = np.where(room > 0, (a.error + np.abs(value) * b.error) / room, np.inf)
    return Bounded(value, error + unit.tiny, np.abs(value), 1)


def product(unit: Unit, matrix: Array, v: Bounded) -> Bounded:
    """matrix @ v: n products of one rounding and n - 1 additions, each perhaps below normal."""
    n, size = matrix.shape[1], np.abs(matrix).T
    error = v.error @ size + n * unit.tiny
    return Bounded(v.value @ matrix.T, error, np.abs(v.value) @ size, n)


def unfolded(matrix: Array, count: int) -> Array:
    """A matrix of ``count`` blocks [rows, columns / count] with its zeros."""
    rows, columns = matrix.shape
    whole = np.zeros((count, rows // count, count, columns))
    for k, block in enumerate(np.split(matrix, count)):
        whole[k, :, k] = block
    return whole.reshape(rows, count * columns)


def folded(matrix: Array, count: int) -> Array:
    """The same without its zeros."""
    rows, columns = matrix.shape
    whole = matrix.reshape(count, rows // count, count, columns // count)
    return np.concatenate([whole[k, :, k] for k in range(count)])


def _dense(matrix: Array, v: Bounded, turned: bool = False) -> tuple[Array, Bounded]:
    """A matrix with the zeros that it has where its operand is in blocks, and the operand."""
    whole = unfolded(matrix, v.count) if isinstance(v, InBlocks) else matrix
    return whole.T if turned else whole, v


def _function(op: str, error: Callable[[Unit, Array, Array, Array], Array]) -> Rule:
    """The rule of a function: its error from (unit, argument, argument's error, result)."""

    def rule(unit: Unit, a: Bounded) -> Bounded:
        value = NUMPY.table[op](a.value)
        return Bounded(value, error(unit, a.value, a.error, value), np.abs(value))

    return rule


def _sqrt(unit: Unit, a: Array, e: Array, y: Array) -> Array:
    # |sqrt(p) - sqrt(q)| = |p - q| / (sqrt(p) + sqrt(q)) <= both of these; then a rounding.
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.fmin(np.sqrt(e), np.where(e > 0, e / y, 0.0))
    return moved + unit.u * (y + moved)


def _one_of(op: str) -> Rule:
    # |min(a, b) - min(a', b')| <= max(|a - a'|, |b - b'|), and nothing is rounded.
    def rule(unit: Unit, a: Bounded, b: Bounded) -> Bounded:
        value = NUMPY.table[op](a.value, b.value)
        return Bounded(value, np.maximum(a.error, b.error) + np.zeros_like(value), np.abs(value))

    return rule


def _log(unit: Unit, a: Array, e: Array, y: Array) -> Array:
    """log(a - e) is further off than log(a + e); nothing is known where a may be 0."""
    with np.errstate(all="ignore"):
        moved = np.where(e < a, -np.log1p(-e / a), np.inf)
        return moved + LOG * unit.u * (np.abs(y) + moved)


def _mean(unit: Unit, a: Bounded) -> Bounded:
    """n - 1 additions in some order and a division by n."""
    n = np.shape(a.value)[-1] if np.ndim(a.value) else 1
    parts = (a.value, a.error, a.size)
    value, error, size = (np.mean(part, axis=-1, keepdims=True) for part in parts)
    return Bounded(value, error + unit.tiny, size, n)


Rule = Callable[..., Bounded]

RULES: dict[str, Rule] = {
    "add": lambda unit, a, b: a + b,
    "sub": lambda unit, a, b: a + -b,
    "mul": multiply,
    "div": divide,
    "neg": lambda unit, a: -a,
    "blocks": lambda unit, v, n: InBlocks(v.value, v.error, v.size, 0, int(n.value)),
    "matmul": lambda unit, w, v: product(unit, *_dense(w.value, v)),
    "matmul_t": lambda unit, w, v: product(unit, *_dense(w.value, v, turned=True)),
    # The slope of sigmoid is at most 1/4, of tanh and relu at most 1.
    "sigmoid": _function("sigmoid", lambda n, a, e, y: e / 4 + SIGMOID * n.u + n.lowest),
    "tanh": _function("tanh", lambda n, a, e, y: e + TANH * n.u * (np.abs(y) + e)),
    "relu": _function("relu", lambda n, a, e, y: e),
    "exp": _function(
        "exp", lambda n, a, e, y: y * (np.expm1(e) + EXP * n.u * np.exp(e)) + n.lowest
    ),
    "log": _function("log", _log),
    "softplus": _function("softplus", lambda n, a, e, y: e + SOFTPLUS * n.u * (y + e) + n.lowest),
    "sqrt": _function("sqrt", _sqrt),
    # A step: right where the sign of the argument is certain, else wrong by all of it.
    "positive": _function("positive", lambda n, a, e, y: 1.0 * ((np.abs(a) <= e) & (e > 0))),
    "mean": _mean,
    "minimum": _one_of("minimum"),
    "maximum": _one_of("maximum"),
}
OPEN = ("add", "sub", "neg")


def bound(expr: Expr, values: Mapping[Expr, Bounded], dtype: str) -> Bounded:
    """The expression's value and error, given those of its leaves."""
    unit = UNITS[dtype]
    if isinstance(expr, Const):
        return constant(expr.value, dtype)
    if not isinstance(expr, Apply):
        return values[expr]
    args = [bound(part, values, dtype) for part in expr.args]
    if expr.op not in OPEN:
        args = [a.settle(unit) for a in args]
    return RULES[expr.op](unit, *args)
