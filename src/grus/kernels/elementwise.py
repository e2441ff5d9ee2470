"""How each operator is spelled in LLVM, and how an expression becomes instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from grus.equations import Apply, Const, Expr
from grus.kernels import functions
from grus.kernels.ir import Function

Spelling = Callable[..., str]


def _binary(name: str) -> Spelling:
    return lambda f, a, b: f.let(f"{name} {f.target.vector} {a}, {b}")


def _sqrt(f: Function, v: str) -> str:
    return f.call(f.target.vector, f"llvm.sqrt.{f.target.suffix}", f"{f.target.vector} {v}")


def _relu(f: Function, v: str) -> str:
    return functions.choose(f, "ole", v, 0.0, "zeroinitializer", v)


def _positive(f: Function, v: str) -> str:
    return functions.choose(f, "ogt", v, 0.0, f.target.splat(1.0), "zeroinitializer")


def _pick(relation: str) -> Spelling:
    """minimum and maximum; NaN in either argument comes out (minnum would swallow it)."""

    def spell(f: Function, a: str, b: str) -> str:
        t = f.target
        bit = f.let(f"fcmp {relation} {t.vector} {a}, {b}")
        value = f.let(f"select {t.mask} {bit}, {t.vector} {a}, {t.vector} {b}")
        bad = f.let(f"fcmp uno {t.vector} {a}, {a}")
        return f.let(f"select {t.mask} {bad}, {t.vector} {a}, {t.vector} {value}")

    return spell


SPELLINGS: dict[str, Spelling] = {
    "add": _binary("fadd"),
    "sub": _binary("fsub"),
    "mul": _binary("fmul"),
    "div": _binary("fdiv"),
    "neg": lambda f, a: f.let(f"fneg {f.target.vector} {a}"),
    "sigmoid": functions.sigmoid,
    "tanh": functions.tanh,
    "relu": _relu,
    "exp": functions.exp,
    "sqrt": _sqrt,
    "positive": _positive,
    "minimum": _pick("olt"),
    "maximum": _pick("ogt"),
}


def compute(f: Function, expr: Expr, values: Mapping[Expr, str]) -> str:
    """Print the instructions of an expression whose leaves are in registers."""
    if isinstance(expr, Const):
        return f.target.splat(expr.value)
    if not isinstance(expr, Apply):
        return values[expr]
    fused = _fused(f, expr, values)
    if fused:
        return fused
    return SPELLINGS[expr.op](f, *(compute(f, arg, values) for arg in expr.args))


def _fused(f: Function, expr: Apply, values: Mapping[Expr, str]) -> str:
    """a * b + c and c - a * b as one instruction; written, never left to the compiler, so that
    every tile has the same bits."""
    if expr.op not in ("add", "sub"):
        return ""
    left, right = expr.args
    if isinstance(left, Apply) and left.op == "mul":
        a, b = (compute(f, arg, values) for arg in left.args)
        c = compute(f, right, values)
        return f.multiply_add(a, b, SPELLINGS["neg"](f, c) if expr.op == "sub" else c)
    if isinstance(right, Apply) and right.op == "mul":
        a, b = (compute(f, arg, values) for arg in right.args)
        c = compute(f, left, values)
        return f.multiply_add(SPELLINGS["neg"](f, a) if expr.op == "sub" else a, b, c)
    return ""
