"""Which axis every vector and matrix has, found from the equations alone.

Elementwise operators make their arguments share an axis; a product joins the weight's columns to
its operand and gives fresh rows; the weights of a family are of one shape. What is left are a few
classes of equal axes, which get names: `input` (that of x), `hidden` (that of the states),
`projection` where the output, or a product inside an equation, has an axis of its own, and
`step.delta` where a further input of that name has one, being read by products alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from grus.equations.blocks import without_blocks
from grus.equations.expr import Apply, CellError, Const, Expr, Input, Name, State, Weight
from grus.equations.operators import OPERATORS, Linear, is_gather, linear, numbers_after


@dataclass(frozen=True, slots=True)
class Shapes:
    """Axes by name. A weight has (rows, columns) or (axis,); a scalar value has None."""

    weights: dict[Weight, tuple[str, ...]]
    values: dict[str, str | None]
    states: dict[str, str]
    inputs: dict[Input, str]
    """The axis of x and of each mask."""
    equal: tuple[tuple[str, str], ...]
    """Pairs of axes that the equations force to one size: x meets a state element by element."""
    places: dict[Weight, int]
    """How many places are under the window of a matrix that stands left of ``patches``: it has a
    column for each of them and each element of its second axis."""
    blocks: dict[Weight, int]
    """How many blocks a matrix has: it is stored without the zeros beside them, so that it has as
    many times fewer columns than its second axis elements."""

    def spelled(self, weight: Weight) -> tuple[str, ...]:
        """The axes of a weight as text: ("hidden", "9 input"), ("hidden", "input / 8")."""
        places, blocks = self.places.get(weight, 1), self.blocks.get(weight, 1)
        before, after = f"{places} " * (places > 1), f" / {blocks}" * (blocks > 1)
        first, *rest = self.weights[weight]
        return (first, *(f"{before}{axis}{after}" for axis in rest))


class _Classes:
    """Union-find over axis variables (hashable labels)."""

    def __init__(self) -> None:
        self.parent: dict[object, object] = {}

    def find(self, label: object) -> object:
        root = self.parent.setdefault(label, label)
        while self.parent[root] != root:
            root = self.parent[root]
        return root

    def join(self, one: object, other: object) -> None:
        self.parent[self.find(other)] = self.find(one)


class _Inference:
    def __init__(self) -> None:
        self.classes = _Classes()
        self.axis: dict[str, object | None] = {}
        self.matrices: dict[Weight, tuple[object, object]] = {}
        self.vectors: dict[Weight, object] = {}
        self.inputs: dict[Input, object] = {}
        self.products: list[object] = []
        self.places: dict[Weight, int] = {}
        self.blocks: dict[Weight, int] = {}

    def leaf(self, expr: Expr) -> object | None:
        if isinstance(expr, Const):
            return None
        if isinstance(expr, Name):
            return self.axis[expr.name]
        if isinstance(expr, Weight):
            if expr in self.matrices:
                raise CellError(f"{expr.name} is a matrix left of @ and a vector elsewhere")
            return self.vectors.setdefault(expr, ("weight", expr.name))
        if isinstance(expr, State):
            return ("state", expr.name)
        assert isinstance(expr, Input)
        if expr.per == "number":
            return None
        self.inputs.setdefault(expr, "x" if expr.name == "x" else ("mask", expr.name))
        return self.inputs[expr]

    def visit(self, expr: Expr) -> object | None:
        if not isinstance(expr, Apply):
            return self.leaf(expr)
        how = linear(expr)
        if how is not None:
            return self.product(expr, how)
        if is_gather(expr):
            return self.gather(expr)
        if OPERATORS[expr.op].kind == "blocks":
            raise CellError(f"{expr} stands right of a matrix and its @, and nowhere else")
        axes = [axis for axis in map(self.visit, expr.args) if axis is not None]
        if OPERATORS[expr.op].kind == "reduction":
            return None
        for axis in axes[1:]:
            self.classes.join(axes[0], axis)
        return axes[0] if axes else None

    def gather(self, expr: Apply) -> object:
        if expr.op == "patches":
            raise CellError(f"{expr} stands right of a matrix and its @, and nowhere else")
        axis = self.visit(expr.args[0])
        if axis is None:
            raise CellError(f"{expr} needs a vector, not a number")
        return axis

    def at_each_place(self, weight: Weight, operand: Expr, how: Linear) -> Expr:
        """What a product reads at each place under its window; how many they are is noted, and
        how many blocks the matrix has."""
        places = 1
        operand, blocks = without_blocks(operand)
        if self.blocks.setdefault(weight, blocks) != blocks:
            raise CellError(f"{weight.name} has {self.blocks[weight]} blocks and {blocks}")
        if blocks > 1 and is_gather(operand):
            raise CellError(f"{operand} cannot be read in blocks yet")
        if isinstance(operand, Apply) and operand.op == "patches":
            places, operand = prod(numbers_after(operand)), operand.args[0]
            if how.turned:
                raise CellError(f"{weight.name}.T has no columns for patches: they widen its rows")
        if self.places.setdefault(weight, places) != places:
            raise CellError(f"{weight.name} reads windows of {self.places[weight]} and {places}")
        return operand

    def product(self, expr: Apply, how: Linear) -> object:
        weight, operand = expr.args
        if not isinstance(weight, Weight):
            raise CellError("the left side of @ must be a weight such as W.r")
        if weight in self.vectors:
            raise CellError(f"{weight.name} is a vector in one place and left of @ in another")
        axis = self.visit(self.at_each_place(weight, operand, how))
        if axis is None:
            raise CellError(f"{weight.name} @ needs a vector on its right, not a number")
        matrix = self.matrices.setdefault(weight, (("rows", weight.name), ("columns", weight.name)))
        result, read = how.axes(*matrix)
        self.classes.join(axis, read)
        self.products.append(result)
        return result

    def join_families(self) -> None:
        """A family stacks its gates, so its matrices say that their axes are one where no equation
        does. Not those of matrices that are multiplied with x, unless x itself is among what they
        give: then it is as long as the other results.
        """
        families: dict[str, list[tuple[object, object]]] = {}
        for weight, axes in self.matrices.items():
            families.setdefault(weight.family, []).append(axes)
        for members in families.values():
            ends = [*zip(*members, strict=True)]
            x = [any(self.classes.find(a) == self.classes.find("x") for a in axes) for axes in ends]
            for axes in ends if not any(x) else ends[:1] if x[0] else ():
                for axis in axes:
                    self.classes.join(axes[0], axis)


def infer(equations: Sequence[tuple[str, Expr]], states: Sequence[str], output: str) -> Shapes:
    """Find every axis. ``output`` is the name whose axis is the cell's output axis.

    Raises CellError where an axis cannot be what two equations ask of it.
    """
    run = _Inference()
    for name, expr in equations:
        try:
            axis = run.visit(expr)
        except CellError as error:
            raise CellError(f"in {name} = ...: {error}") from None
        run.axis[name] = axis
        if name.endswith("_next") and name[: -len("_next")] in states:
            if axis is None:
                raise CellError(f"{name} is a number; a state's next value is a vector")
            run.classes.join(("state", name[: -len("_next")]), axis)
    run.join_families()
    return _name_classes(run, states, output)


def _name_classes(run: _Inference, states: Sequence[str], output: str) -> Shapes:
    find = run.classes.find
    x = find("x")
    equal: list[tuple[str, str]] = []
    state_roots = [find(("state", name)) for name in states]
    # A product inside an equation counts as a value: `flatten` will give it a name.
    computed = [find(a) for a in [*run.axis.values(), *run.products] if a is not None]
    distinct = dict.fromkeys([*computed, *state_roots])
    out_axis = run.axis[output]
    if out_axis is None:
        raise CellError(f"the output {output} is a number; it must be a vector")
    # The states' axis is hidden, those aside that are as long as x; where they have two, the
    # output's is the projection.
    recurrent = [root for root in state_roots if root != x] or state_roots
    hidden = next((root for root in recurrent if root != find(out_axis)), recurrent[0])
    labels: dict[object, str] = {hidden: "hidden"}
    if hidden == x:
        # x meets the state elementwise, so a layer of this cell needs input size = hidden size.
        equal.append(("input", "hidden"))
    labels.setdefault(x, "input")
    for root in distinct:
        labels.setdefault(root, "projection")
    if sum(name == "projection" for name in labels.values()) > 1:
        names = {find(axis): name for name, axis in reversed(run.axis.items()) if axis is not None}
        apart = [names.get(root, "a product") for root in distinct if root != x]
        raise CellError(
            f"more than two axes beside the input: {', '.join(apart)} are each of a size of its"
            " own, for no equation says that two are of one, as in ... + 0 * s"
        )
    for node, axis in run.inputs.items():
        labels.setdefault(find(axis), f"step.{node.name}")

    def label(axis: object) -> str:
        return labels.setdefault(find(axis), "hidden")

    weights: dict[Weight, tuple[str, ...]] = {
        w: (label(rows), label(columns)) for w, (rows, columns) in run.matrices.items()
    }
    weights |= {w: (label(axis),) for w, axis in run.vectors.items()}
    values = {name: None if axis is None else label(axis) for name, axis in run.axis.items()}
    inputs = {node: label(axis) for node, axis in run.inputs.items()}
    of_states = {s: label(("state", s)) for s in states}
    return Shapes(weights, values, of_states, inputs, tuple(equal), run.places, run.blocks)
