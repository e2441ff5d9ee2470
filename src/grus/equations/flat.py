"""A cell with every intermediate value named, so that a compiler or a derivative can point at it.

After `flatten`, functions stand only at the root of an equation, products take a plain name on
their right, and nothing that holds a product is multiplied, divided or compared without a name of
its own: the derivative of these reads their arguments.
"""

from __future__ import annotations

from functools import lru_cache

from grus.equations.blocks import with_blocks, without_blocks
from grus.equations.cell import Cell
from grus.equations.expr import Apply, Const, Expr, Input, Name, State, Weight, walk
from grus.equations.operators import OPERATORS, linear
from grus.equations.symbols import RESERVED


def is_function(expr: Expr) -> bool:
    """True for sigmoid(...) and the like, and for divisions: values worth keeping."""
    return isinstance(expr, Apply) and (not OPERATORS[expr.op].symbol or expr.op == "div")


def is_gate(expr: Expr) -> bool:
    """True for a value between 0 and 1: a sigmoid of something, or a bound 0 and a bound 1."""
    if not isinstance(expr, Apply):
        return False
    outer, inner = {"minimum": (1.0, 0.0), "maximum": (0.0, 1.0)}.get(expr.op, (0.0, 0.0))
    other = "maximum" if expr.op == "minimum" else "minimum"
    bounded = expr.op in ("minimum", "maximum") and Const(outer) in expr.args
    return expr.op == "sigmoid" or (
        bounded
        and any(isinstance(a, Apply) and a.op == other and Const(inner) in a.args
                for a in expr.args)
    )  # fmt: skip


def gates(cell: Cell) -> tuple[str, ...]:
    """The gates of a cell: its values between 0 and 1, as `is_gate` has them."""
    return tuple(name for name, expr in cell.equations if is_gate(expr))


def has_product(expr: Expr) -> bool:
    """True when a product with a weight matrix stands somewhere in the expression."""
    return any(map(linear, walk(expr)))


@lru_cache(maxsize=256)
def flatten(cell: Cell) -> Cell:
    """The same cell with intermediates named; a flat cell comes back equal."""
    run = _Flattening(cell)
    for name, expr in cell.equations:
        run.done.append((name, run.root(expr)))
    return Cell(cell.name, tuple(run.done), cell.doc)


class _Flattening:
    def __init__(self, cell: Cell) -> None:
        self.done: list[tuple[str, Expr]] = []
        self.taken = {name for name, _ in cell.equations} | set(cell.states) | RESERVED
        self.known: dict[Expr, Name] = {}

    def root(self, expr: Expr) -> Expr:
        """An expression that may stand right of an equals sign."""
        if not isinstance(expr, Apply):
            return expr
        if is_function(expr):
            args = tuple(self.inside(a) for a in expr.args)
            if len(args) > 1 or OPERATORS[expr.op].kind == "reduction":
                args = tuple(self.named(a) if has_product(a) else a for a in args)
            return Apply(expr.op, args)
        return self.inside(expr)

    def inside(self, expr: Expr) -> Expr:
        """An expression that may stand below the root."""
        if not isinstance(expr, Apply):
            return expr
        if is_function(expr):
            return self.named(self.root(expr))
        if linear(expr):
            weight, (operand, count) = expr.args[0], without_blocks(expr.args[1])
            plain = self.inside(operand)
            plain = self.named(plain) if _compound(plain) else plain
            return Apply(expr.op, (weight, with_blocks(plain, count)))
        args = tuple(self.inside(a) for a in expr.args)
        if expr.op != "add":
            args = tuple(self.named(a) if has_product(a) else a for a in args)
        return Apply(expr.op, args)

    def named(self, expr: Expr) -> Name:
        if expr not in self.known:
            name = self.fresh(_suggest(expr))
            self.done.append((name, expr))
            self.known[expr] = Name(name)
        return self.known[expr]

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _compound(expr: Expr) -> bool:
    return isinstance(expr, (Apply, Const, Weight))


def _suggest(expr: Expr) -> str:
    """A readable name for a sub-expression: ``r * h`` becomes r_h."""
    words = []
    for node in walk(expr):
        if isinstance(node, Weight):
            words.append(f"{node.family}{node.gate}")
        elif isinstance(node, (Name, State, Input)):
            words.append(node.name.removesuffix("_next"))
        elif isinstance(node, Apply) and not OPERATORS[node.op].symbol:
            words.insert(0, node.op)
    return "_".join(words[:4]) or "t"
