"""Arithmetic that needs no numbers from outside: what a known number leaves of an expression."""

from __future__ import annotations

import math
from collections.abc import Callable

from grus.equations.expr import Apply, CellError, Const, Expr
from grus.equations.operators import OPERATORS
from grus.equations.text import show

ZERO, ONE = Const(0.0), Const(1.0)


def simplify(expr: Expr) -> Expr:
    """The expression with numbers worked out: 1 * v is v, 0 * v is 0, v + 0 is v, W.n @ 0 is 0.

    0 * v is 0 whatever v is. Raises CellError where numbers give no finite number, as in 1 / 0.
    """
    if not isinstance(expr, Apply):
        return expr
    args = tuple(map(simplify, expr.args))
    if OPERATORS[expr.op].number and all(isinstance(a, Const) for a in args):
        return _number(expr.op, args)
    found = RULES[expr.op](*args) if expr.op in RULES else None
    return Apply(expr.op, args) if found is None else found


def _number(op: str, args: tuple[Expr, ...]) -> Const:
    try:
        number = OPERATORS[op].number
        assert number is not None
        value = number(*(a.value for a in args if isinstance(a, Const)))
    except (ArithmeticError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise CellError(f"{show(Apply(op, args))} is no finite number")
    return Const(value + 0.0)  # -0 and 0 print alike


def _add(a: Expr, b: Expr) -> Expr | None:
    return b if a == ZERO else a if b == ZERO else None


def _sub(a: Expr, b: Expr) -> Expr | None:
    return a if b == ZERO else -b if a == ZERO else None


def _mul(a: Expr, b: Expr) -> Expr | None:
    if ZERO in (a, b):
        return ZERO
    return b if a == ONE else a if b == ONE else None


def _div(a: Expr, b: Expr) -> Expr | None:
    if b == ZERO:
        raise CellError(f"{show(Apply('div', (a, b)))} is no finite number")
    return ZERO if a == ZERO else a if b == ONE else None


def _product(weight: Expr, operand: Expr) -> Expr | None:
    return ZERO if operand == ZERO else None


def _gather(operand: Expr, *numbers: Expr) -> Expr | None:
    del numbers
    return ZERO if operand == ZERO else None


RULES: dict[str, Callable[..., Expr | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    **{name: _product for name, op in OPERATORS.items() if op.linear},
    **{name: _gather for name, op in OPERATORS.items() if op.kind in ("gather", "blocks")},
}
"""What an operator leaves where one argument is a number that makes it trivial; None: all of it."""
