"""The cost of a cell: parameters, operations and bytes, counted in its equations.

A product with an m x n matrix counts 2 m n operations, one of k blocks a k-th of them; every other
operator, functions included, counts one for each element. The counts are those of the equations as
they stand: what a plan moves out of the time loop or computes again does not change them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from grus.equations import (
    OPERATORS,
    Apply,
    Cell,
    Const,
    Expr,
    Input,
    Name,
    State,
    Weight,
    linear,
    without_blocks,
)
from grus.errors import InputError
from grus.gradients.adjoint import Backward, backward

LETTERS = {"input": "I", "hidden": "H", "projection": "P"}
ITEM_BYTES = {"float32": 4, "float64": 8}
Axis = str | None
Leaf = Callable[[Expr], Axis]


@dataclass(frozen=True)
class Count:
    """A number that depends on the sizes of axes: a sum of products, such as 3 H I + 4 H."""

    terms: tuple[tuple[tuple[str, ...], int | Fraction], ...] = ()

    @classmethod
    def of(cls, *axes: Axis, times: int = 1, blocks: int = 1) -> Count:
        """The product of axes over ``blocks``; an axis None is a single number."""
        share = times if blocks == 1 else Fraction(times, blocks)
        return cls(((tuple(sorted(a for a in axes if a)), share),)) if times else cls()

    def __add__(self, other: Count) -> Count:
        total = dict(self.terms)
        for axes, times in other.terms:
            total[axes] = total.get(axes, 0) + times
        return Count(tuple(total.items()))

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number, at these sizes of the axes."""
        return int(sum(times * prod(sizes[axis] for axis in axes) for axes, times in self.terms))

    def __str__(self) -> str:
        ordered = sorted(self.terms, key=lambda term: (-len(term[0]), term[0]))
        return " + ".join(filter(None, (_product(*term) for term in ordered))) or "0"


def _product(axes: tuple[str, ...], times: int | Fraction) -> str:
    """One term: ``3 H I``, ``3 H²``, ``4 H``."""
    if not times:
        return ""
    letters = [LETTERS.get(axis, axis) for axis in axes]
    words = [a + ("²" if letters.count(a) == 2 else "") for a in dict.fromkeys(letters)]
    return " ".join([str(times), *words] if times != 1 or not words else words)


def total(counts: Iterable[Count]) -> Count:
    """The sum of counts."""
    return sum(counts, Count())


@dataclass(frozen=True)
class Cost:
    """The cost of one step for one row of a batch; parameters once."""

    parameters: Count
    forward: Count
    """Operations of the forward step."""
    backward: Count
    """Operations of the backward step, the sums of the weights' gradients included."""
    dx: Count
    """Operations that the gradients of x and of the further inputs add."""
    read: Count
    """Numbers that come from outside at each step: x, masks, states. Weights come on top."""
    saved: Count
    """Numbers that the forward step keeps for the backward step."""
    states: Count
    """Numbers of all states."""


def cost(cell: Cell) -> Cost:
    """Count one step of ``cell``."""
    back = backward(cell)
    forward_axes = axes_of(cell.equations, _leaf(cell))
    flat_axes = axes_of(back.forward.equations, _leaf(cell))
    seen = _seen(cell, flat_axes)
    backward_axes = axes_of(back.cell.equations, seen)
    numbers = _numbers(back.forward.equations, frozenset())
    return Cost(
        parameters=total(_numbers_of(cell, weight) for weight in cell.weights),
        forward=_operations(cell.equations, forward_axes, _leaf(cell)),
        backward=_operations(back.cell.equations, backward_axes, seen, numbers)
        + _weight_sums(cell, back),
        dx=total(_input_gradient(cell, back, backward_axes)),
        read=total(
            [
                *(Count.of(_leaf(cell)(node)) for node in cell.inputs),
                *(Count.of(cell.shapes.states[state]) for state in cell.states),
            ]
        ),
        saved=total(Count.of(seen(Input(name))) for name in back.saved),
        states=total(Count.of(cell.shapes.states[state]) for state in cell.states),
    )


def _numbers_of(cell: Cell, weight: Weight, times: int = 1) -> Count:
    """The numbers of a weight."""
    blocks = cell.shapes.blocks.get(weight, 1)
    return Count.of(*cell.shapes.weights[weight], times=times, blocks=blocks)


def axes_of(equations: Iterable[tuple[str, Expr]], leaf: Leaf) -> dict[str, Axis]:
    """The axis of every named value, from the axes of states, inputs and weights."""
    axes: dict[str, Axis] = {}
    for name, expr in equations:
        axes[name] = _axis(expr, axes, leaf)
    return axes


def _axis(expr: Expr, axes: Mapping[str, Axis], leaf: Leaf) -> Axis:
    if isinstance(expr, Name):
        return axes[expr.name]
    if not isinstance(expr, Apply):
        return leaf(expr)
    if linear(expr):
        return _matrix(expr, leaf)[0]
    inside = [_axis(part, axes, leaf) for part in expr.args]
    return next((a for a in inside if a and OPERATORS[expr.op].kind != "reduction"), None)


def _matrix(product: Apply, leaf: Leaf) -> tuple[str, ...]:
    """(rows, columns) of the matrix as it is used: turned over in a transposed product."""
    how, axes = linear(product), leaf(product.args[0])
    assert how is not None
    assert axes is not None
    rows, columns = axes.split()
    return how.axes(rows, columns)


def _leaf(cell: Cell) -> Leaf:
    """The axis of a leaf of the forward equations; of a matrix both, with a blank between."""

    def axis(expr: Expr) -> Axis:
        if isinstance(expr, Weight):
            return " ".join(cell.shapes.weights[expr])
        if isinstance(expr, State):
            return cell.shapes.states[expr.name]
        if isinstance(expr, Input) and expr.name == "x":
            return "hidden" if ("input", "hidden") in cell.shapes.equal else "input"
        return cell.shapes.inputs.get(expr) if isinstance(expr, Input) else None

    return axis


def _seen(cell: Cell, flat_axes: Mapping[str, Axis]) -> Leaf:
    """The axis of a leaf of the backward equations: an adjoint's is that of its own."""
    forward = _leaf(cell)

    def axis(expr: Expr) -> Axis:
        if isinstance(expr, State):
            return cell.shapes.states[expr.name.removeprefix("d")]
        if isinstance(expr, Input) and expr.name == "dy":
            return cell.shapes.values[cell.output]
        if isinstance(expr, Input) and expr.name in flat_axes:
            return flat_axes[expr.name]
        if isinstance(expr, Input) and expr.name in cell.states:
            return cell.shapes.states[expr.name]
        return forward(expr)

    return axis


def _numbers(equations: Sequence[tuple[str, Expr]], known: frozenset[str]) -> frozenset[str]:
    """``known`` and the names of the values that are made of numbers alone."""
    for name, expr in equations:
        known |= {name} if _is_number(expr, known) else set()
    return known


def _is_number(expr: Expr, numbers: frozenset[str]) -> bool:
    if isinstance(expr, Apply):
        return all(_is_number(part, numbers) for part in expr.args)
    return isinstance(expr, Const) or (isinstance(expr, Name | Input) and expr.name in numbers)


def _operations(
    equations: Sequence[tuple[str, Expr]],
    axes: Mapping[str, Axis],
    leaf: Leaf,
    known: frozenset[str] = frozenset(),
) -> Count:
    """The operations of a step; those on numbers alone (``known`` are such) are done beforehand."""
    numbers = _numbers(equations, known)

    def inside(expr: Expr) -> Count:
        if not isinstance(expr, Apply) or _is_number(expr, numbers):
            return Count()
        if linear(expr):
            blocks = without_blocks(expr.args[1])[1]
            count = Count.of(*_matrix(expr, leaf), times=2, blocks=blocks)
        elif OPERATORS[expr.op].kind == "blocks":
            count = Count()
        elif OPERATORS[expr.op].kind == "reduction":
            count = Count.of(_axis(expr.args[0], axes, leaf))
        else:
            count = Count.of(_axis(expr, axes, leaf))
        return count + total(map(inside, expr.args))

    return total(inside(expr) for _, expr in equations)


def _weight_sums(cell: Cell, back: Backward) -> Count:
    """Each term of a weight's gradient: an outer product and its sum, or a sum."""
    return total(
        _numbers_of(cell, term.weight, times=1 if term.operand is None else 2)
        for term in back.weights
    )


def _input_gradient(cell: Cell, back: Backward, axes: Mapping[str, Axis]) -> list[Count]:
    counts = []
    for node, (_, terms) in zip((Input("x"), *cell.further), back.inputs, strict=True):
        counts += [
            _numbers_of(cell, weight, times=2) if weight is not None else Count.of(axes[name])
            for weight, name in terms
        ]
        counts += [Count.of(_leaf(cell)(node)) for _ in terms[1:]]
    return counts


def check_counts(**counts: int) -> None:
    """Raise InputError for a count below 1, by its name."""
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be at least 1, got {count}")


def sizes_for(cell: Cell, inputs: int | None, hidden: int, projection: int) -> dict[str, int]:
    """The size of each axis, checked; ``inputs`` None is the hidden size. A further input that has
    an axis of its own is as long as x.

    Raises InputError for a size below 1, and where x is used element by element and its size is
    not the hidden size.
    """
    wide = hidden if inputs is None else inputs
    sizes = {"hidden": hidden, "input": wide, "projection": projection}
    check_counts(**sizes)
    sizes |= {axis: wide for axis in cell.shapes.inputs.values() if axis not in sizes}
    for axis, other in cell.shapes.equal:
        if sizes[axis] != sizes[other]:
            raise InputError(
                f"cell {cell.name} uses x element by element: {axis} must equal {other},"
                f" got {sizes[axis]} and {sizes[other]}"
            )
    for family in cell.families:
        cell.family_shape(family, sizes)  # refuses blocks of uneven sizes
    return sizes
