"""Equations as LaTeX: states at t-1, values at t, ⊙ for elementwise products."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grus.equations import text
from grus.equations.expr import Apply, Const, Expr, Input, Name, State, Weight
from grus.equations.operators import OPERATORS


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


def power(number: str) -> str:
    """A number as Python spells it, with its power of ten written out."""
    digits, e, exponent = number.partition("e")
    return rf"{digits} \times 10^{{{int(exponent)}}}" if e else digits


def show(
    expr: Expr,
    states: Sequence[str],
    number: Callable[[float], str] | None = None,
    first: bool = True,
) -> str:
    """One expression; ``number`` and ``first`` as in `text.show`."""
    if isinstance(expr, Const):
        return power(text.number(expr.value)) if number is None else number(expr.value)
    if isinstance(expr, State):
        return f"{_word(expr.name)}_{{t-1}}"
    if isinstance(expr, Weight):
        return f"{_word(expr.family)}_{{{_word(expr.gate)}}}"
    if isinstance(expr, Input):
        return f"{_word(expr.name)}_{{t}}" if expr.per != "sequence" else _word(expr.name)
    if isinstance(expr, Name):
        return value(expr.name, states)
    assert isinstance(expr, Apply)
    return _Printer(states, number).apply(expr, first)


class _Printer:
    def __init__(self, states: Sequence[str], number: Callable[[float], str] | None) -> None:
        self.states, self.number = states, number

    def apply(self, expr: Apply, first: bool) -> str:
        op = OPERATORS[expr.op]
        if op.linear:
            mark = r"^{\top}" if op.linear.turned else ""
            return f"{self.inside(expr.args[0], 9)}{mark} {self.inside(expr.args[1], 9)}"
        if not op.symbol:
            name = op.latex or rf"\operatorname{{{op.name}}}"
            return f"{name}\\left({', '.join(self.inside(a, 0, True) for a in expr.args)}\\right)"
        if op.arity == 1:
            return "-" + self.inside(expr.args[0], op.binding)
        left = self.inside(expr.args[0], op.binding, first)
        right = self.inside(expr.args[1], op.binding + 1)
        scales = op.name == "mul" and any(map(_is_number, expr.args))
        return left + (r" \cdot " if scales else op.latex) + right

    def inside(self, expr: Expr, binding: int, first: bool = False) -> str:
        if text.needs_brackets(expr, binding, first):
            return rf"\left({show(expr, self.states, self.number)}\right)"
        return show(expr, self.states, self.number, first)


def _is_number(expr: Expr) -> bool:
    return isinstance(expr, Const) or (isinstance(expr, Apply) and all(map(_is_number, expr.args)))
