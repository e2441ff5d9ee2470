"""Products in one call: every form, sizes around the width of vectors, tiles and blocks, both
dtypes, any number of threads."""

from __future__ import annotations

import re

import numpy as np
import pytest

from grus.kernels import matrices, terms
from grus.kernels.jit import compiled
from grus.kernels.loops import Program
from grus.kernels.loops_text import parse
from grus.kernels.machine import Target
from grus.kernels.terms import Term, Terms, loops
from products import matmul

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
    Terms(dtype, [product(a, b, c, adds)])(addresses(a, b, c))
    close(c, (a.T.astype(float) @ b + (2.0 if adds else 0.0)), depth)


@both
def test_what_stands_beside_the_result_is_not_touched(dtype: str) -> None:
    a, b = random(dtype, 3, 2), random(dtype, 3, 9)
    whole = np.full((4, 20), 7.0, dtype)
    part = whole[1:3, 5:14]
    Terms(dtype, [product(a, b, part)])(addresses(a, b, part))
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
    Terms(dtype, terms)(addresses(one, rows, a, b, c))
    close(c, rows.astype(float).sum(axis=0) + a.T.astype(float) @ b, 8)
    Terms(dtype, terms[1:])(addresses(one, rows, a, b, c))
    with pytest.raises(AssertionError):  # without the zeros both are counted twice
        close(c, rows.astype(float).sum(axis=0) + a.T.astype(float) @ b, 8)


@both
def test_buffers_may_lie_elsewhere_at_each_call(dtype: str) -> None:
    a, b = random(dtype, 2, 3), random(dtype, 2, 6)
    first, second = (np.empty((3, 6), dtype) for _ in range(2))
    run = Terms(dtype, [product(a, b, first)])
    run(addresses(a, b, first))
    run(addresses(a, b, second))
    assert first.tobytes() == second.tobytes()


LARGE = [
    (3, 600, 4),
    (8, 16, 40),
    (9, 17, 33),
    (13, 100, 257),
    (130, 33, 70),
    (21, 513, 300),
    (257, 50, 600),
]
"""Around the lanes and rows of a tile; rows (128), columns (512) and depth (256) of a block."""


def error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What a sum may be off by: each block of k rounds once a term, then come the blocks."""
    steps = min(len(a), matrices.DEPTH) + len(a) // matrices.DEPTH + 2
    size = np.abs(a.T.astype(float)) @ np.abs(b.astype(float))
    return steps * np.finfo(a.dtype).eps * (size + 2.0)


@both
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("size", LARGE)
def test_a_large_product_is_numpys(size: tuple[int, int, int], adds: bool, dtype: str) -> None:
    rows, columns, depth = size
    a, b = random(dtype, depth, rows + 3)[:, 2:-1], random(dtype, depth, columns + 1)[:, 1:]
    whole = np.full((rows + 2, columns + 5), 7.0, dtype)
    part = whole[1:-1, 3:-2]
    part[:] = 2.0 if adds else np.nan
    term = product(a, b, part, adds)
    assert term.large(a.itemsize)
    Terms(dtype, [term])(addresses(a, b, part))
    want = a.T.astype(float) @ b.astype(float) + (2.0 if adds else 0.0)
    assert (np.abs(part - want) <= error(a, b)).all()
    part[:] = 7.0
    assert (whole == 7.0).all(), "something beside the result was written"


@both
@pytest.mark.parametrize("size", LARGE)
def test_rows_along_k_are_read_where_they_stand(size: tuple[int, int, int], dtype: str) -> None:
    """The other form of A, that of dL/dx: the same bits."""
    rows, columns, depth = size
    a, b = random(dtype, depth, rows), random(dtype, depth, columns + 1)[:, 1:]
    found, want = (np.empty((rows, columns), dtype) for _ in range(2))
    matmul(np.ascontiguousarray(a.T), b, found)
    matmul(a.T, b, want)
    assert found.tobytes() == want.tobytes()
    assert (np.abs(found - a.T.astype(float) @ b.astype(float)) <= error(a, b)).all()


@both
def test_a_row_does_not_depend_on_how_many_there_are(dtype: str) -> None:
    """Few rows go another way than many: sums begin anew at the same places."""
    a, b = random(dtype, 700, 9), random(dtype, 700, 33)
    whole = np.empty((9, 33), dtype)
    matmul(a.T, b, whole)
    for rows in (1, 2, 3, 8):
        part = np.empty((rows, 33), dtype)
        matmul(np.ascontiguousarray(a[:, :rows]).T, b, part)
        assert part.tobytes() == whole[:rows].tobytes()


def test_a_block_that_is_not_added_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that begin anew at each block of k and forget what came before."""

    def forgets(target: Target) -> Program:
        return parse(re.sub(r"(select \w+), 1, adds", r"\1, 0, adds", str(loops(target))))

    monkeypatch.setattr(terms, "loops", forgets)
    a, b = random("float32", 300, 9), random("float32", 300, 17)
    found = np.empty((9, 17), "float32")
    matmul(a.T, b, found)
    assert not (np.abs(found - a.T.astype(float) @ b.astype(float)) <= error(a, b)).all()


@pytest.mark.parametrize("size", [(97, 130, 700), (700, 130, 97), (5, 3000, 90)])
def test_no_bit_depends_on_threads(size: tuple[int, int, int]) -> None:
    pytest.importorskip("torch")  # which brings the threads
    rows, columns, depth = size
    a, b = random("float32", depth, rows), random("float32", depth, columns)
    one, all_of_them = (np.empty((rows, columns), "float32") for _ in range(2))
    matmul(a.T, b, one, most_threads=1)
    matmul(a.T, b, all_of_them)
    assert one.tobytes() == all_of_them.tobytes()


def test_threads_share_rows_of_what_terms_make_together() -> None:
    """Zeros in all rows, then a part of the rows, then a few added: each thread its own rows, so
    that none adds before the zeros are there."""
    pytest.importorskip("torch")
    a, b, more = (random("float32", 600, n) for n in (300, 200, 1))
    one, c = np.ones(1, "float32"), np.full((450, 200), np.nan, "float32")
    item, row = c.itemsize, c.strides[0]
    at = (0, 0, a.strides[0], a.strides[1])
    parts = [
        Term((3, 0, 0, 0), (3, 0, 0, 0), (2, 0, row), (450, 200, 0)),
        Term(at, (1, 0, b.strides[0], 0), (2, 77 * row, row), (300, 200, 600), True, (77, 450)),
        Term((3, 0, 0, 0), (4, 0, item, 0), (2, 0, row), (450, 1, 600), adds=True),
    ]
    want = np.zeros((450, 200))
    want[77:377] = a.T.astype(float) @ b.astype(float)
    want[:, 0] += more.astype(float).sum()
    for _ in range(20):
        c[:] = np.nan
        Terms("float32", parts)(addresses(a, b, c, one, more))
        bound = np.full(c.shape, 1e-6 * 600)
        bound[77:377] += error(a, b)
        assert (np.abs(c - want) <= bound).all()


def test_it_is_compiled_once_for_each_dtype() -> None:
    assert compiled(loops, "float32") is compiled(loops, "float32")
