"""The backward step of a cell, derived: its equations are a cell again.

The backward cell runs from the last step to the first. Its states are the adjoints of the
forward states (``dh``), its per-step inputs are the forward values it reads (``step.z``; the
state as the step found it is ``step.h``) and the adjoint of the output (``step.dy``). In it,
``d_n`` is dL/dn and ``a_n`` is the adjoint of the argument of n's function.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from grus.equations import (
    Apply,
    Cell,
    Const,
    Expr,
    Input,
    Name,
    State,
    Weight,
    mean,
    with_blocks,
    without_blocks,
)
from grus.equations.expr import parts, walk
from grus.equations.flat import flatten, is_function
from grus.equations.operators import OPERATORS, linear
from grus.errors import InputError

DY = Input("dy")


@dataclass(frozen=True, slots=True)
class WeightGradient:
    """One term of a weight's gradient.

    ``operand`` None: the sum of ``adjoint`` over time and batch; else the sum of the outer
    products adjoint x operand, where operand is ``x``, a state as read, or a forward value;
    operand x adjoint where the step used the matrix transposed, which is ``turned``.
    """

    weight: Weight
    adjoint: str
    operand: Expr | None
    turned: bool = False


@dataclass(frozen=True)
class Backward:
    """Everything that backpropagation through one step needs."""

    forward: Cell
    """The flat forward cell, whose values the backward equations read."""
    cell: Cell
    """The backward equations."""
    saved: tuple[str, ...]
    """Forward values and states that must be kept, by name, in a fixed order."""
    weights: tuple[WeightGradient, ...]
    dx: tuple[tuple[Weight | None, str], ...]
    """dL/dx is the sum of ``weight.T @ value``, or of the value itself where weight is None."""
    further: tuple[tuple[str, tuple[tuple[Weight | None, str], ...]], ...] = ()
    """The same of each further input, by name; of a number it is the sum over the units, too."""

    @property
    def inputs(self) -> tuple[tuple[str, tuple[tuple[Weight | None, str], ...]], ...]:
        """The terms of x and of each further input, by name."""
        return ("x", self.dx), *self.further


@lru_cache(maxsize=256)
def backward(cell: Cell) -> Backward:
    """Derive the backward step of ``cell``.

    Raises InputError for what has no derivative here: a mean over an axis other than that of its
    adjoint, a mask named like a value, values of other positions.
    """
    if cell.gathers:
        raise InputError(
            f"cell {cell.name}: {cell.gathers[0]} reads other positions, which has no derivative"
            " in equations yet; a layer of the cell has torch's"
        )
    derivation = _Derivation(cell)
    _refuse(derivation.forward)
    return derivation.result()


def _refuse(cell: Cell) -> None:
    values = {name for name, _ in cell.equations} | set(cell.states)
    for mask in cell.inputs:
        if mask.name in values:
            raise InputError(f"cell {cell.name}: mask {mask.name} and a value share a name")
    for name, expr in cell.equations:
        for node in walk(expr):
            # The rule averages the adjoint, of the hidden axis; an input need not be as long.
            axis = isinstance(node, Apply) and node.op == "mean" and _axis_of_input(cell, node)
            if axis:
                over = "x" if axis == "input" else axis
                raise InputError(
                    f"cell {cell.name}: a mean over {over} has no derivative rule ({name})"
                )


def _axis_of_input(cell: Cell, expr: Expr) -> str:
    """The axis of what stands in the expression outside any product, where it is an input's own."""
    axis: str | None = None
    if isinstance(expr, Name):
        axis = cell.shapes.values[expr.name]
    elif isinstance(expr, State):
        axis = cell.shapes.states[expr.name]
    elif isinstance(expr, Input):
        axis = cell.shapes.inputs.get(expr)
    elif not linear(expr):
        return next(filter(None, (_axis_of_input(cell, part) for part in parts(expr))), "")
    return axis if axis and (axis == "input" or axis.startswith("step.")) else ""


class _Derivation:
    def __init__(self, cell: Cell) -> None:
        # The flat form may read states in another order: which one is the output, the cell says.
        self.forward, self.states, self.output = flatten(cell), cell.states, cell.output
        self.equations: list[tuple[str, Expr]] = []
        self.adjoints: dict[Expr, list[Expr]] = {}
        self.weights: list[WeightGradient] = []

    def result(self) -> Backward:
        for name, expr in reversed(self.forward.equations):
            self.equation(name, expr)
        for state in self.states:
            terms = self.adjoints.get(State(state), [0 * State("d" + state)])
            self.equations.append((f"d{state}_next", self.spread(_total(terms))))
        dx = self.input_terms(Input("x"), "x")
        further = tuple((i.name, self.input_terms(i, f"{i.name}_")) for i in self.forward.further)
        name = f"{self.forward.name}_backward"
        cell = Cell(name, tuple(self.equations), f"Backward step of {self.forward.name}.")
        return Backward(self.forward, cell, self.saved(cell), tuple(self.weights), dx, further)

    def saved(self, cell: Cell) -> tuple[str, ...]:
        """The values that the backward step reads, and the operands of the weights' gradients."""
        read = [i.name for i in cell.inputs if i.per != "sequence"]
        operands = [w.operand.name for w in self.weights if isinstance(w.operand, (Name, State))]
        known = {name for name, _ in self.forward.equations} | set(self.states)
        return tuple(dict.fromkeys(n for n in [*read, *operands] if n in known))

    def equation(self, name: str, expr: Expr) -> None:
        adjoints = list(self.adjoints.get(Name(name), []))
        state = name.removesuffix("_next")
        if name.endswith("_next") and state in self.states:
            adjoints.insert(0, State("d" + state))
        if name == self.output:
            adjoints.append(DY)
        if not adjoints:
            return
        short = state if state in self.states else name
        total = _total(adjoints)
        if self.forward.shapes.values[name] is not None:
            total = self.spread(total)
        elif not self.is_number(total):
            total = mean(total)  # a number's adjoint is carried per unit, see `operators`
        total = self.named(f"d_{short}", total)
        if is_function(expr):
            assert isinstance(expr, Apply)
            terms = self.rule(expr, total, self.seen(Name(name)))
            if len(terms) == 1:
                terms = (self.named(f"a_{short}", terms[0]),)
            for part, adjoint in zip(expr.args, terms, strict=True):
                self.push(part, adjoint, short)
        else:
            self.push(expr, total, short)

    def rule(self, expr: Apply, g: Expr, y: Expr) -> tuple[Expr, ...]:
        derivative = OPERATORS[expr.op].derivative
        assert derivative is not None
        return tuple(map(simplify, derivative(g, y, *map(self.seen, expr.args))))

    def seen(self, expr: Expr) -> Expr:
        """A forward expression as the backward step reads it."""
        if isinstance(expr, Name) and self.forward.shapes.values[expr.name] is None:
            return Input(expr.name, "number")
        if isinstance(expr, (Name, State)):
            return Input(expr.name)
        if isinstance(expr, Apply):
            return Apply(expr.op, tuple(map(self.seen, expr.args)))
        return expr

    def push(self, expr: Expr, g: Expr, where: str) -> None:
        """Hand the adjoint g of ``expr`` down to the leaves it is made of."""
        if isinstance(expr, Const):
            return
        if isinstance(expr, Weight):
            self.weights.append(WeightGradient(expr, self.reference(g, where), None))
        elif not isinstance(expr, Apply):
            self.adjoints.setdefault(expr, []).append(g)
        elif how := linear(expr):
            weight, (operand, count) = expr.args[0], without_blocks(expr.args[1])
            assert isinstance(weight, Weight)
            name = self.reference(g, where)
            self.weights.append(WeightGradient(weight, name, operand, how.turned))
            self.push(operand, Apply(how.adjoint, (weight, with_blocks(Name(name), count))), where)
        else:
            for part, adjoint in zip(expr.args, self.rule(expr, g, Const(0)), strict=True):
                self.push(part, adjoint, where)

    def reference(self, g: Expr, where: str) -> str:
        """The name of g, giving it one if it has none."""
        named = self.named(f"a_{where}", self.spread(g))
        assert isinstance(named, Name)
        return named.name

    def spread(self, g: Expr) -> Expr:
        """A vector where g is one number: the adjoint of a mean, the same for each element."""
        return g + 0 * State(f"d{self.states[0]}") if self.is_number(g) else g

    def is_number(self, expr: Expr) -> bool:
        if isinstance(expr, Name):
            return self.is_number(dict(self.equations)[expr.name])
        if isinstance(expr, Apply) and OPERATORS[expr.op].kind == "elementwise":
            return all(map(self.is_number, expr.args))
        if isinstance(expr, Input):
            return expr.per == "number"
        return isinstance(expr, Const) or (isinstance(expr, Apply) and expr.op == "mean")

    def named(self, name: str, expr: Expr) -> Expr:
        if isinstance(expr, Name):
            return expr
        while any(name == taken for taken, _ in self.equations):
            name += "_"
        self.equations.append((name, expr))
        return Name(name)

    def input_terms(self, node: Input, where: str) -> tuple[tuple[Weight | None, str], ...]:
        """What the adjoint of an input is the sum of."""
        terms = enumerate(self.adjoints.get(node, []))
        return tuple(self.input_term(term, f"{where}{k}") for k, term in terms)

    def input_term(self, term: Expr, where: str) -> tuple[Weight | None, str]:
        if isinstance(term, Apply) and term.op == "matmul_t":
            weight, (operand, _) = term.args[0], without_blocks(term.args[1])
            assert isinstance(weight, Weight)
            assert isinstance(operand, Name)
            return weight, operand.name
        return None, self.reference(term, where)


def _total(terms: list[Expr]) -> Expr:
    """The sum of adjoints: elementwise terms first, among them those without a minus sign."""
    total: Expr | None = None
    for term in sorted(terms, key=_place):
        if total is None:
            total = term
        elif isinstance(term, Apply) and term.op == "neg":
            total = total - term.args[0]
        else:
            total = total + term
    assert total is not None
    return simplify(total)


def simplify(expr: Expr) -> Expr:
    """Drop the remains of the derivation: factors of 1, doubled signs."""
    if not isinstance(expr, Apply):
        return expr
    args = tuple(map(simplify, expr.args))
    if expr.op == "mul" and Const(1) in args:
        return args[1] if args[0] == Const(1) else args[0]
    if expr.op == "neg" and _negative(args[0]):
        return _unsigned(args[0])
    if expr.op == "mul" and any(map(_negative, args)):
        first, second = (_unsigned(a) for a in args)
        product = Apply("mul", (first, second))
        return product if all(map(_negative, args)) else Apply("neg", (product,))
    return Apply(expr.op, args)


def _place(term: Expr) -> int:
    return 2 if linear(term) else int(_negative(term))


def _negative(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op == "neg"


def _unsigned(expr: Expr) -> Expr:
    return expr.args[0] if isinstance(expr, Apply) and expr.op == "neg" else expr
