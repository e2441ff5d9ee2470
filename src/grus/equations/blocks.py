"""Block-diagonal matrices: the mark of an operand that is read in blocks, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grus.equations.expr import Apply, Const, Expr, Operand, as_expr

Array = Any


def blocks(v: Operand, count: float) -> Expr:
    """v in ``count`` parts of one size, for the right of @: ``U.z @ blocks(h, 8)`` is a product
    with a block-diagonal matrix, whose k-th part of rows reads the k-th part of v alone.

    The matrix is stored without its zeros, [rows, columns / count].
    """
    return Apply("blocks", (as_expr(v), as_expr(count)))


def with_blocks(operand: Expr, count: int) -> Expr:
    """The operand of a product with the mark; one block needs none."""
    return operand if count == 1 else blocks(operand, count)


def without_blocks(operand: Expr) -> tuple[Expr, int]:
    """The operand of a product without its mark ``blocks``, and how many blocks there are."""
    if isinstance(operand, Apply) and operand.op == "blocks":
        inner, count = operand.args
        assert isinstance(count, Const)
        return inner, int(count.value)
    return operand, 1


@dataclass(frozen=True, slots=True)
class InBlocks:
    """The value of ``blocks(v, count)``: its parts meet those of a matrix, one by one."""

    value: Array
    count: int


def times(library: Any, w: Array, v: Array | InBlocks) -> Array:
    """``w @ v`` of an array v [..., operand], or of one in blocks."""
    return _in_blocks(library, w, v, "...nk,nrk->...nr") if isinstance(v, InBlocks) else v @ w.T


def times_turned(library: Any, w: Array, v: Array | InBlocks) -> Array:
    """``w.T @ v``."""
    return _in_blocks(library, w, v, "...nr,nrk->...nk") if isinstance(v, InBlocks) else v @ w


def _in_blocks(library: Any, w: Array, v: InBlocks, axes: str) -> Array:
    blocks = w.reshape(v.count, -1, w.shape[1])
    result = library.einsum(axes, v.value.reshape(*v.value.shape[:-1], v.count, -1), blocks)
    return result.reshape(*result.shape[:-2], -1)
