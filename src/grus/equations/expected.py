"""A cell without its randomness: every drawn mask replaced by its mean."""

from __future__ import annotations

from functools import lru_cache

from grus.equations.cell import Cell
from grus.equations.expr import Apply, Const, Expr, Input


def expected(cell: Cell) -> Cell:
    """The cell with each drawn mask replaced by its expectation; a cell without masks as it is.

    For zoneout that is what Krueger et al. (2017) run at test time; a dropout whose value is
    1 / keep leaves nothing behind: 1 times a value is the value.
    """
    return _expected(cell) if cell.masks else cell


@lru_cache(maxsize=256)
def _expected(cell: Cell) -> Cell:
    equations = tuple((name, _replace(expr)) for name, expr in cell.equations)
    return Cell(cell.name, equations, cell.doc)


def _replace(expr: Expr) -> Expr:
    if isinstance(expr, Input) and expr.keep is not None:
        return Const(expr.expectation)
    if not isinstance(expr, Apply):
        return expr
    args = tuple(map(_replace, expr.args))
    if expr.op == "mul" and Const(1) in args:
        return args[1] if args[0] == Const(1) else args[0]
    return Apply(expr.op, args)
