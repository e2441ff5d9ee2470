"""Products of whole matrices by the kernels' terms."""

from __future__ import annotations

from typing import cast

import numpy as np

from grus.kernels import DType, Term, Terms, address

Array = np.ndarray


def matmul(
    a: Array, b: Array, out: Array, *, adds: bool = False, most_threads: int | None = None
) -> None:
    """out = a @ b, or that added to it, for matrices of one dtype whose last axes, or a's first,
    are contiguous."""
    (rows, depth), columns = a.shape, b.shape[1]
    assert b.shape == (depth, columns)
    assert out.shape == (rows, columns)
    assert columns == 1 or out.strides[1] == b.strides[1] == a.itemsize
    left, right = (0, 0, a.strides[1], a.strides[0]), (1, 0, b.strides[0], 0)
    term = Term(left, right, (2, 0, out.strides[0]), (rows, columns, depth), adds)
    Terms(cast("DType", a.dtype.name), [term])([address(m) for m in (a, b, out)], most_threads)
