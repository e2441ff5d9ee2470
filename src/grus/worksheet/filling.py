"""Putting numbers into an equation: the stages of one line of a worksheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from grus.equations import OPERATORS, Apply, Const, Expr, Name, linear, without_blocks
from grus.reference import evaluate

Array = Any
ELIDED = Name("...")
"""Stands in a long sum for the terms that are not shown."""
FIRST = 3


@dataclass(frozen=True)
class LongProduct:
    """One row of a weight times a vector, where it has more than one term."""

    symbols: Expr
    terms: Expr
    """A sum; where it is long its first terms, `ELIDED` and its last."""
    value: float
    """Of all terms."""


class Filling:
    """Puts numbers into an expression, for one unit of a batch of one; a sum of more than
    ``most`` terms is shortened."""

    def __init__(self, leaves: Mapping[Expr, Array], most: int) -> None:
        self.leaves, self.most = leaves, most
        self.worked: dict[Expr, Array] = {}

    def stages(self, expr: Expr, unit: int) -> tuple[Expr, ...]:
        """The expression with numbers, then with its terms and its argument worked out."""
        stages = [self.filled(expr, unit), self.summed(expr, unit)]
        if _is_function(expr) and isinstance(expr, Apply) and expr.op != "mean":
            stages.append(Apply(expr.op, tuple(self.value(a, unit) for a in expr.args)))
        value = self.value(expr, unit)
        kept = [s for k, s in enumerate(stages) if s not in stages[:k] and s != value]
        return tuple(kept)

    def value(self, expr: Expr, unit: int) -> Const:
        """The value of the expression for this unit, by the reference."""
        if isinstance(expr, Const):
            return expr
        values = self.every(expr)
        return Const(float(values[unit if len(values) > 1 else 0]))

    def every(self, expr: Expr) -> Array:
        """The values of the expression for all units, by the reference."""
        if expr not in self.worked:
            self.worked[expr] = np.ravel(evaluate(expr, self.leaves))
        return self.worked[expr]

    def shown(self, count: int) -> list[int | None]:
        """The numbers of the terms shown, out of ``count``; None stands for those between."""
        if count <= self.most:
            return list(range(count))
        return [*range(FIRST), None, count - 1]

    def products(self, expr: Expr, unit: int) -> Iterator[LongProduct]:
        """The long products of this unit, each once; not those inside another or a mean, whose
        rows are other units."""
        for node in dict.fromkeys(_own_products(expr)):
            if self.is_long(node):
                yield LongProduct(node, self.terms(node, unit), self.value(node, unit).value)

    def is_long(self, expr: Expr) -> bool:
        """True for a product whose rows have more than one term."""
        if not isinstance(expr, Apply) or linear(expr) is None:
            return False
        return len(self.row(expr, 0)[0]) > 1

    def terms(self, product: Expr, unit: int) -> Expr:
        """One row of a weight times a vector, as a sum of numbers."""
        assert isinstance(product, Apply)
        operand, _ = without_blocks(product.args[1])
        row, first = self.row(product, unit)
        terms = (
            ELIDED if k is None else Const(float(row[k])) * self.filled(operand, first + k)
            for k in self.shown(len(row))
        )
        return reduce(lambda total, term: total + term, terms)

    def row(self, product: Apply, unit: int) -> tuple[Array, int]:
        """The numbers of the matrix that make this unit of a product, and the first element of the
        operand that they meet, which is its block's."""
        matrix, how = self.leaves[product.args[0]], linear(product)
        blocks = without_blocks(product.args[1])[1]
        rows, columns = matrix.shape[0] // blocks, matrix.shape[1]
        if how and how.turned:
            block, column = divmod(unit, columns)
            return matrix[block * rows : (block + 1) * rows, column], block * rows
        return matrix[unit], unit // rows * columns

    def filled(self, expr: Expr, unit: int) -> Expr:
        """Every leaf as its number; a short product as its one term, a long one as its value."""
        if not isinstance(expr, Apply) or self.is_long(expr):
            return self.value(expr, unit)
        if linear(expr):
            return self.terms(expr, unit)
        if OPERATORS[expr.op].kind == "reduction":
            return self.summed(expr, unit)
        return Apply(expr.op, tuple(self.filled(a, unit) for a in expr.args))

    def summed(self, expr: Expr, unit: int) -> Expr:
        """Sums and functions stay; each of their terms is worked out."""
        if isinstance(expr, Apply) and OPERATORS[expr.op].kind == "reduction":
            (part,) = expr.args
            units = self.shown(len(self.every(part)))
            parts = tuple(ELIDED if k is None else self.value(part, k) for k in units)
            return Apply(expr.op, parts)
        if isinstance(expr, Apply) and (_is_function(expr) or expr.op in ("add", "sub")):
            return Apply(expr.op, tuple(self.summed(a, unit) for a in expr.args))
        return self.value(expr, unit)


def _is_function(expr: Expr) -> bool:
    return isinstance(expr, Apply) and not OPERATORS[expr.op].symbol


def _own_products(expr: Expr) -> Iterator[Expr]:
    """The products that a unit's value is made of directly."""
    if not isinstance(expr, Apply) or OPERATORS[expr.op].kind == "reduction":
        return
    if linear(expr):
        yield expr
    else:
        for part in expr.args:
            yield from _own_products(part)
