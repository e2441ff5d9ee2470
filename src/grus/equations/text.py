"""Equations as text, and back. Reading uses Python's syntax tree, never `eval`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from grus.equations.blocks import blocks
from grus.equations.checks import check_size, unknown
from grus.equations.expr import Apply, CellError, Const, Expr, Input, Name, State, Weight
from grus.equations.operators import OPERATORS, clip, hard_sigmoid, neighbours, patches

_BINARY = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.MatMult: "matmul",
}

_WRITTEN_OUT: dict[str, Callable[..., Expr]] = {"clip": clip, "hard_sigmoid": hard_sigmoid}
"""Functions that are read as the operators they are made of."""
_NUMBERED: dict[str, Callable[..., Expr]] = {
    "patches": patches,
    "neighbours": neighbours,
    "blocks": blocks,
}
_WITH_NUMBERS = _WRITTEN_OUT | _NUMBERED
_NUMBERS = {"clip": (1, 1), "hard_sigmoid": (0, 2)} | {n: OPERATORS[n].numbers for n in _NUMBERED}
"""How few and how many numbers they take after the expression."""

SYNTAX = 6  # Python's syntax tree has at most this many nodes for one of ours, as in -W.r


def number(value: float) -> str:
    """Shortest text that reads back as the same number; whole numbers without a point."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def counted(number: int, word: str) -> str:
    """``1 step``, ``2 steps``, ``2,000 steps``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of a table, columns as wide as needed; those in ``right`` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            word.rjust(wide) if k in right else word.ljust(wide)
            for k, (word, wide) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def show(expr: Expr, number: Callable[[float], str] = number, first: bool = True) -> str:
    """The expression in Python's spelling, with only the brackets it needs.

    ``number`` spells constants; ``first`` says that nothing stands to the left, so that a
    negative number needs no brackets.
    """
    if isinstance(expr, Const):
        return number(expr.value)
    if isinstance(expr, (Name, State, Weight)):
        return expr.name
    if isinstance(expr, Input):
        return expr.name if expr.name == "x" else f"{expr.per}.{expr.name}" + drawn(expr, number)
    assert isinstance(expr, Apply)
    op = OPERATORS[expr.op]
    if not op.symbol:
        return f"{op.name}({', '.join(show(a, number) for a in expr.args)})"
    if op.arity == 1:
        return op.symbol + _inside(expr.args[0], op.binding, number, False)
    left = _inside(expr.args[0], op.binding, number, first)
    right = _inside(expr.args[1], op.binding + 1, number, False)
    join = f" {op.symbol} " if not op.symbol.startswith(".") else f"{op.symbol} "
    return f"{left}{join}{right}"


# The nodes know no operators, so that operators can be made of nodes.
Expr.__str__ = show  # type: ignore[method-assign, assignment]


def drawn(mask: Input, number: Callable[[float], str] = number) -> str:
    """The probability of a drawn mask in brackets, and its value where that is not 1."""
    if mask.keep is None:
        return ""
    value = "" if mask.value == 1 else f", {number(mask.value)}"
    return f"({number(mask.keep)}{value})"


def _inside(expr: Expr, binding: int, number: Callable[[float], str], first: bool) -> str:
    if needs_brackets(expr, binding, first):
        return f"({show(expr, number)})"
    return show(expr, number, first)


def needs_brackets(expr: Expr, binding: int, first: bool) -> bool:
    """True for a weaker operator below a stronger one, and for a sign after an operator."""
    if isinstance(expr, Apply):
        op = OPERATORS[expr.op]
        return bool(op.symbol) and op.binding < binding
    return isinstance(expr, Const) and expr.value < 0 and binding > 1 and not first


def read(text: str, states: frozenset[str], values: frozenset[str]) -> Expr:
    """Read one expression; ``states`` and ``values`` say what a bare name means.

    Raises CellError with the offending piece when the text is not an equation's right side.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise CellError(f"not an expression: {text.strip()[:200]!r}") from None
    root: ast.AST = tree.body
    check_size(root, ast.iter_child_nodes, SYNTAX)
    return _Reader(states, values).read(tree.body)


class _Reader:
    def __init__(self, states: frozenset[str], values: frozenset[str]) -> None:
        self.states, self.values = states, values

    def read(self, node: ast.expr) -> Expr:
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self.constant(value)
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return self.dotted(node.value.id, node.attr)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.read(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self.binary(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        raise CellError(f"{_source(node)!r} is not part of the equation language")

    def constant(self, value: float) -> Expr:
        try:
            return Const(float(value))
        except OverflowError:
            raise CellError("a whole number is too large for a float") from None

    def name(self, name: str) -> Expr:
        if name == "x":
            return Input("x")
        if name in self.values:
            return Name(name)
        if name in self.states:
            return State(name)
        raise CellError(unknown(name))

    def dotted(self, owner: str, name: str) -> Expr:
        if owner == "step":
            return Input(name, "step")
        if owner == "sequence":
            return Input(name, "sequence")
        if owner == "number":
            return Input(name, "number")
        return Weight(owner, name)

    def mask(self, node: ast.Call, func: ast.Attribute) -> Expr:
        found = self.read(func)
        numbers = [self.read(arg) for arg in node.args]
        given = [n.value for n in numbers if isinstance(n, Const)]
        right = len(given) == len(numbers) in (1, 2) and not node.keywords
        if not isinstance(found, Input) or found.per == "number" or not right:
            raise CellError(f"{_source(node)!r} is not part of the equation language")
        return found(*given)

    def binary(self, node: ast.BinOp) -> Expr:
        left, right = node.left, node.right
        op = _BINARY[type(node.op)]
        if op == "matmul" and isinstance(left, ast.Attribute) and left.attr == "T":
            weight = left.value
            if isinstance(weight, ast.Attribute):  # W.r.T; in W.T the gate itself is called T
                return Apply("matmul_t", (self.read(weight), self.read(right)))
        return Apply(op, (self.read(left), self.read(right)))

    def call(self, node: ast.Call) -> Expr:
        if isinstance(node.func, ast.Attribute):
            return self.mask(node, node.func)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _WITH_NUMBERS and not node.keywords:
            return self.with_numbers(node, name)
        op = OPERATORS.get(name)
        if op is None or op.symbol or node.keywords or len(node.args) != op.arity:
            known = ", ".join(n for n, o in OPERATORS.items() if not o.symbol)
            raise CellError(
                f"{_source(node)!r} is not a function of the equation language, which has"
                f" {known}, {', '.join(_WRITTEN_OUT)}"
            )
        return Apply(name, tuple(map(self.read, node.args)))

    def with_numbers(self, node: ast.Call, name: str) -> Expr:
        v, *rest = (self.read(arg) for arg in node.args) if node.args else (None,)
        numbers = [n.value for n in rest if isinstance(n, Const)]
        fewest, most = _NUMBERS[name]
        if v is None or len(numbers) != len(rest) or not fewest <= len(numbers) <= most:
            count = f"{fewest} to {most} numbers" if fewest < most else f"{fewest} number"
            raise CellError(f"{_source(node)!r}: {name} takes an expression and {count}")
        return _WITH_NUMBERS[name](v, *numbers)


def _source(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 80 else f"{text[:77]}..."
