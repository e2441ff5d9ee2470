"""A cell's equations as a graph: nodes are terms and named values, uses are its edges.

Every term of every equation has a path: ``r`` is the whole right side of r, ``r.0`` its first
argument, and so on. A term is in exactly one place of the graph: an operator, a weight or a
number in one node, a reference to a value, a state or an input on one use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from grus.equations import (
    OPERATORS,
    Apply,
    Cell,
    Const,
    Expr,
    Input,
    Linear,
    Name,
    State,
    Weight,
    is_gather,
    linear,
    text,
)

Kind = Literal[
    "state", "input", "product", "vector", "constant", "elementwise", "function", "value", "out"
]
NEXT = "_next"


@dataclass(frozen=True, slots=True)
class Label:
    """The label of a node: a text, upright or not, with an index below or above."""

    text: str
    below: str = ""
    above: str = ""
    upright: bool = False


@dataclass(frozen=True, slots=True)
class DrawnTerm:
    """One operator, weight or number of an equation: where it stands and what it is."""

    path: str
    token: str


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A drawn thing. ``carries`` is the name of the value that leaves it, where it has one."""

    key: str
    kind: Kind
    label: Label
    terms: tuple[DrawnTerm, ...] = ()
    carries: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """A drawn arrow: the term at ``path`` goes into argument ``place`` of ``target``.

    ``reads`` names the value, state or input where the term is a reference, and is empty where
    the arrow only joins a term to the one that it is part of.
    """

    source: str
    target: str
    place: int
    path: str
    reads: str = ""
    minus: bool = False


@dataclass
class CellGraph:
    """All nodes by key, in the order of the equations, and all uses."""

    nodes: dict[str, GraphNode] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)

    def into(self, key: str) -> list[Use]:
        """The uses that end at a node, by argument."""
        return sorted((u for u in self.uses if u.target == key), key=lambda u: u.place)

    def out_of(self, key: str) -> list[Use]:
        """The uses that begin at a node."""
        return [u for u in self.uses if u.source == key]


def build(cell: Cell) -> CellGraph:
    """The graph of a cell."""
    builder = _Builder(cell)
    for name, expr in cell.equations:
        builder.equation(name, expr)
    return builder.graph


def shown_name(cell: Cell, name: str) -> Label:
    """The label of a named value: ``h_next`` is h at t, ``r`` is r."""
    state = name.removesuffix(NEXT)
    if state != name and state in cell.states:
        return Label(state, "t")
    return Label(name, "t" if name == cell.output else "")


class _Builder:
    def __init__(self, cell: Cell) -> None:
        self.cell, self.graph = cell, CellGraph()
        self.at: dict[Expr, str] = {}
        read = {n.name for n in cell.nodes if isinstance(n, State)}
        for state in (s for s in cell.states if s in read):
            label = Label(state, "t−1")
            self.at[State(state)] = self.add(GraphNode(f"state {state}", "state", label, (), state))
        for node in cell.inputs:
            label = Label(node.name, "t" if node.per != "sequence" else "")
            key = f"input {node.name}"
            self.at[node] = self.add(GraphNode(key, "input", label, (), text.show(node)))

    def add(self, node: GraphNode) -> str:
        self.graph.nodes[node.key] = node
        return node.key

    def equation(self, name: str, expr: Expr) -> None:
        """Draw an equation: its terms, and the value or the way out that they end in."""
        out = name == self.cell.output or name.removesuffix(NEXT) in self.cell.states
        carrier = f"value {name}"
        if out and isinstance(expr, Apply):
            carrier = self.term(expr, name, carries=name)
        else:
            self.add(GraphNode(carrier, "value", shown_name(self.cell, name), (), name))
            self.use(expr, name, carrier, 0)
        self.at[Name(name)] = carrier
        if out:
            port = self.add(GraphNode(f"out {name}", "out", shown_name(self.cell, name)))
            self.graph.uses.append(Use(carrier, port, 0, f"{name}="))

    def use(self, expr: Expr, path: str, target: str, place: int, minus: bool = False) -> None:
        """Draw ``expr`` and the arrow from it into a node."""
        if isinstance(expr, (Name, State, Input)):
            reads = expr.name if not isinstance(expr, Input) else text.show(expr)
            self.graph.uses.append(Use(self.at[expr], target, place, path, reads, minus))
        else:
            self.graph.uses.append(Use(self.term(expr, path), target, place, path, "", minus))

    def term(self, expr: Expr, path: str, carries: str = "") -> str:
        """Draw a term that is no reference; its node's key is its path."""
        if isinstance(expr, Const):
            label = Label(text.number(expr.value), upright=True)
            return self.add(GraphNode(path, "constant", label, (DrawnTerm(path, label.text),)))
        if isinstance(expr, Weight):
            label = Label(expr.family, expr.gate)
            return self.add(GraphNode(path, "vector", label, (DrawnTerm(path, expr.name),)))
        assert isinstance(expr, Apply)
        if how := linear(expr):
            return self.product(expr, how, path, carries)
        return self.operator(expr, path, carries)

    def product(self, expr: Apply, how: Linear, path: str, carries: str) -> str:
        weight, operand = expr.args
        assert isinstance(weight, Weight)
        label = Label(weight.family, weight.gate, "⊤" if how.turned else "")
        terms = (DrawnTerm(path, expr.op), DrawnTerm(f"{path}.0", weight.name))
        key = self.add(GraphNode(path, "product", label, terms, carries))
        self.use(operand, f"{path}.1", key, 0)
        return key

    def operator(self, expr: Apply, path: str, carries: str) -> str:
        """A sum or product of several terms is one node; a number beside one term is its label."""
        terms, operands = _chain(expr, path)
        numbers = [o for o in operands if isinstance(o.expr, Const)]
        if numbers and len(numbers) == len(operands) - 1 and (len(numbers) == 1 or is_gather(expr)):
            shown = _with_numbers(expr, operands)
            terms += [DrawnTerm(o.path, text.show(o.expr)) for o in numbers]
            operands = [o for o in operands if o not in numbers]
        else:
            shown = _plain(expr, operands)
        kind: Kind = "elementwise" if OPERATORS[expr.op].symbol else "function"
        key = self.add(GraphNode(path, kind, shown, tuple(terms), carries))
        signs = expr.op in ("add", "sub") and len(operands) > 1
        for place, operand in enumerate(operands):
            self.use(operand.expr, operand.path, key, place, signs and operand.minus)
        return key


@dataclass(frozen=True, slots=True)
class _Operand:
    expr: Expr
    path: str
    minus: bool = False


def _chain(expr: Apply, path: str) -> tuple[list[DrawnTerm], list[_Operand]]:
    """The operators of a + b - c or a * b * c, and what they join."""
    same = {"add": ("add", "sub"), "sub": ("add", "sub"), "mul": ("mul",)}.get(expr.op, ())
    first = expr.args[0]
    if isinstance(first, Apply) and first.op in same:
        terms, operands = _chain(first, f"{path}.0")
    else:
        terms, operands = [], [_Operand(first, f"{path}.0")]
    rest = [_Operand(a, f"{path}.{k}", expr.op == "sub") for k, a in enumerate(expr.args) if k]
    return [*terms, DrawnTerm(path, expr.op)], [*operands, *rest]


def _plain(expr: Apply, operands: list[_Operand]) -> Label:
    if expr.op in ("add", "sub"):
        return Label("+", upright=True)
    return Label(OPERATORS[expr.op].drawn or expr.op, upright=True)


def _with_numbers(expr: Apply, operands: list[_Operand]) -> Label:
    """The label of an operator with numbers beside one argument: ``1 −``, ``max(·, 0)``."""
    words = [_signed(o.expr) if isinstance(o.expr, Const) else "·" for o in operands]
    symbol = OPERATORS[expr.op].drawn or expr.op
    symbol = {"⊙": "·", "÷": "/"}.get(symbol, symbol)
    if not OPERATORS[expr.op].symbol:
        return Label(f"{symbol}({', '.join(words)})", upright=True)
    first, second = words
    return Label(f"{symbol} {second}" if first == "·" else f"{first} {symbol}", upright=True)


def _signed(number: Const) -> str:
    return text.number(number.value).replace("-", "−")
