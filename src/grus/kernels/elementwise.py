"""What each operator does in the loop language, and how an expression becomes operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from grus.equations import Apply, Const, Expr
from grus.kernels import functions
from grus.kernels.ir import Function
from grus.kernels.loops import Argument, Value

Spelling = Callable[..., Argument]


def _unary(name: str) -> Spelling:
    return lambda f, v: f.let(name, v)


def _binary(name: str) -> Spelling:
    return lambda f, a, b: f.let(name, a, b)


def _neg(f: Function, v: Argument) -> Argument:
    return -v if isinstance(v, float) else f.let("neg", v)


def _relu(f: Function, v: Argument) -> Value:
    return functions.choose(f, "at_most", v, 0.0, 0.0, v)


def _positive(f: Function, v: Argument) -> Value:
    return functions.choose(f, "more", v, 0.0, 1.0, 0.0)


def _pick(relation: str) -> Spelling:
    """minimum and maximum; NaN in either argument comes out (minnum would swallow it)."""

    def spell(f: Function, a: Argument, b: Argument) -> Value:
        value = f.let("select", f.let(relation, a, b), a, b)
        return f.let("select", f.let("nan", a), a, value)

    return spell


SPELLINGS: dict[str, Spelling] = {
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "div": _binary("div"),
    "neg": _neg,
    "sigmoid": functions.sigmoid,
    "tanh": functions.tanh,
    "relu": _relu,
    "exp": functions.exp,
    "sqrt": _unary("sqrt"),
    "positive": _positive,
    "minimum": _pick("less"),
    "maximum": _pick("more"),
}


def compute(f: Function, expr: Expr, values: Mapping[Expr, Argument]) -> Argument:
    """Build an expression whose leaves are in registers."""
    if isinstance(expr, Const):
        return float(expr.value)
    if not isinstance(expr, Apply):
        return values[expr]
    return _fused(f, expr, values) or SPELLINGS[expr.op](f, *_computed(f, expr, values))


def _computed(f: Function, expr: Apply, values: Mapping[Expr, Argument]) -> list[Argument]:
    """An operator's arguments. Constants alone have no type: one of them becomes a vector."""
    found = [compute(f, arg, values) for arg in expr.args]
    if len(found) > 1 and not any(isinstance(argument, Value) for argument in found):
        found[0] = f.let("splat", found[0], type=f.target.vector)
    return found


def _fused(f: Function, expr: Apply, values: Mapping[Expr, Argument]) -> Value | None:
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
