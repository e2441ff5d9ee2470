"""Products of few rows in one call: every form, sizes around the vector's width, both dtypes."""

from __future__ import annotations

import numpy as np
import pytest

from grus.kernels import few
from grus.kernels.few import Few, Term

both = pytest.mark.parametrize("dtype", ["float32", "float64"])
SIZES = [(1, 1, 1), (3, 5, 2), (4, 16, 1), (2, 17, 7), (5, 33, 3), (24, 8, 1), (0, 4, 2), (2, 0, 3)]


def random(dtype: str, *shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


def close(found: np.ndarray, want: np.ndarray, depth: int, scale: float = 20.0) -> None:
    # Each of the sums rounds once a term, whose size is below `scale`.
    bound = (depth + 2) * np.finfo(found.dtype).eps * scale
    assert np.abs(found - want).max(initial=0) <= bound


def product(a: np.ndarray, b: np.ndarray, c: np.ndarray, adds: bool = False) -> Term:
    """c = a.T @ b, or adds it: the gradient of a weight from rows of adjoints and of inputs."""
    return Term(
        (0, 0, a.strides[0], a.strides[1]),
        (1, 0, b.strides[0], 0),
        (2, 0, c.strides[0]),
        (a.shape[1], b.shape[1], len(a)),
        adds,
    )


def addresses(*arrays: np.ndarray) -> list[int]:
    return [a.ctypes.data for a in arrays]


@both
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("adds", [False, True])
def test_a_product_is_numpys(size: tuple[int, int, int], dtype: str, adds: bool) -> None:
    rows, columns, depth = size
    a, b = random(dtype, depth, rows), random(dtype, depth, columns, 1)[..., 0]
    c = np.full((rows, columns), 2.0 if adds else np.nan, dtype)
    Few(dtype, [product(a, b, c, adds)])(addresses(a, b, c))
    close(c, (a.T.astype(float) @ b + (2.0 if adds else 0.0)), depth)


@both
def test_what_stands_beside_the_result_is_not_touched(dtype: str) -> None:
    a, b = random(dtype, 3, 2), random(dtype, 3, 9)
    whole = np.full((4, 20), 7.0, dtype)
    part = whole[1:3, 5:14]
    Few(dtype, [product(a, b, part)])(addresses(a, b, part))
    close(part, a.T.astype(float) @ b, 3)
    whole[1:3, 5:14] = 7.0
    assert (whole == 7.0).all()


@both
def test_terms_come_one_after_the_other(dtype: str) -> None:
    """Zeros, a copy of a sum over k, and a product added to it."""
    one, rows = np.ones(1, dtype), random(dtype, 3, 2, 5)
    a, b, c = random(dtype, 4, 2), random(dtype, 4, 5), np.full((2, 5), np.nan, dtype)
    item, size = c.itemsize, (2, 5)
    terms = [
        Term((0, 0, 0, 0), (0, 0, 0, 0), (4, 0, 5 * item), (*size, 0)),
        Term((0, 0, 0, 0), (1, 0, 10 * item, 5 * item), (4, 0, 5 * item), (*size, 3), adds=True),
        Term((2, 0, 2 * item, item), (3, 0, 5 * item, 0), (4, 0, 5 * item), (*size, 4), adds=True),
    ]
    Few(dtype, terms)(addresses(one, rows, a, b, c))
    close(c, rows.astype(float).sum(axis=0) + a.T.astype(float) @ b, 8)
    Few(dtype, terms[1:])(addresses(one, rows, a, b, c))
    with pytest.raises(AssertionError):  # without the zeros both are counted twice
        close(c, rows.astype(float).sum(axis=0) + a.T.astype(float) @ b, 8)


@both
def test_buffers_may_lie_elsewhere_at_each_call(dtype: str) -> None:
    a, b = random(dtype, 2, 3), random(dtype, 2, 6)
    first, second = (np.empty((3, 6), dtype) for _ in range(2))
    run = Few(dtype, [product(a, b, first)])
    run(addresses(a, b, first))
    run(addresses(a, b, second))
    assert first.tobytes() == second.tobytes()


def test_it_is_compiled_once_for_each_dtype() -> None:
    assert few._compiled("float32") is few._compiled("float32")
