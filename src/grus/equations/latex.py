"""Equations as LaTeX: states at t-1, values at t, ⊙ for elementwise products."""

from __future__ import annotations

from collections.abc import Sequence

from grus.equations import text
from grus.equations.expr import OPERATORS, Apply, Const, Expr, Input, Name, State, Weight

NAMES = {"sigmoid": r"\sigma", "positive": r"\mathbf{1}_{>0}", "relu": r"\operatorname{relu}"}
SYMBOLS = {"add": " + ", "sub": " - ", "mul": r" \odot ", "div": " / "}


def aligned(equations: Sequence[tuple[str, Expr]], states: Sequence[str]) -> str:
    """All equations, one per line, aligned at the equals sign."""
    lines = [f"{value(name, states)} &= {show(expr, states)}" for name, expr in equations]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def value(name: str, states: Sequence[str]) -> str:
    """The symbol of a named value: ``h_next`` is h at t, ``r`` is r at t."""
    base = name.removesuffix("_next")
    return f"{_word(base if base in states else name)}_{{t}}"


def _word(name: str) -> str:
    return name if len(name) == 1 else rf"\mathit{{{name.replace('_', chr(92) + '_')}}}"


def show(expr: Expr, states: Sequence[str]) -> str:
    """One expression."""
    if isinstance(expr, Const):
        return text.number(expr.value)
    if isinstance(expr, State):
        return f"{_word(expr.name)}_{{t-1}}"
    if isinstance(expr, Weight):
        return f"{_word(expr.family)}_{{{_word(expr.gate)}}}"
    if isinstance(expr, Input):
        return f"{_word(expr.name)}_{{t}}" if expr.per == "step" else _word(expr.name)
    if isinstance(expr, Name):
        return value(expr.name, states)
    assert isinstance(expr, Apply)
    return _apply(expr, states)


def _apply(expr: Apply, states: Sequence[str]) -> str:
    op = OPERATORS[expr.op]
    if op.kind == "linear":
        mark = r"^{\top}" if expr.op == "matmul_t" else ""
        return f"{show(expr.args[0], states)}{mark} {_inside(expr.args[1], 9, states)}"
    if not op.symbol:
        name = NAMES.get(op.name, rf"\{op.name}" if op.name in ("tanh", "exp") else "")
        name = name or rf"\operatorname{{{op.name}}}"
        return f"{name}\\left({', '.join(show(a, states) for a in expr.args)}\\right)"
    if op.arity == 1:
        return "-" + _inside(expr.args[0], op.binding, states)
    left = _inside(expr.args[0], op.binding, states)
    right = _inside(expr.args[1], op.binding + 1, states)
    symbol = SYMBOLS[op.name]
    if op.name == "mul" and any(isinstance(a, Const) for a in expr.args):
        symbol = r" \cdot "
    return f"{left}{symbol}{right}"


def _inside(expr: Expr, binding: int, states: Sequence[str]) -> str:
    weak = isinstance(expr, Apply) and OPERATORS[expr.op].binding < binding
    weak = weak and bool(OPERATORS[expr.op].symbol) if isinstance(expr, Apply) else False
    negative = isinstance(expr, Const) and expr.value < 0 and binding > 1
    return rf"\left({show(expr, states)}\right)" if weak or negative else show(expr, states)
