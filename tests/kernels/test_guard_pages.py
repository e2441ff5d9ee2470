"""Kernels read and write inside their arrays only: one byte beyond is a page that may not be
touched, and touching it ends the process."""

from __future__ import annotations

import os

import pytest

import child

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs mprotect")

CODE = """
import ctypes, mmap, warnings
import numpy as np
from agreement import draw, train
from bits import forward, parts, same
from cells import ALL_CELLS
from dataclasses import replace
from grus import kernels, runtime

warnings.filterwarnings("ignore", "grus: no OpenMP")
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None)
kept = []

def fenced(array, at_end):
    "The array's numbers between two forbidden pages, close to the last or to the first."
    room = -(-array.nbytes // PAGE) * PAGE
    memory = mmap.mmap(-1, room + 2 * PAGE)
    kept.append(memory)
    whole = np.frombuffer(memory, np.uint8)
    for page in (0, PAGE + room):
        address = ctypes.c_void_p(whole.ctypes.data + page)
        assert libc.mprotect(address, ctypes.c_size_t(PAGE), 0) == 0
    first = PAGE + (room - array.nbytes if at_end else 0)
    inside = whole[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    inside[...] = array
    return inside

def call(problem, at_end):
    p = problem
    fence = lambda a: fenced(np.ascontiguousarray(a), at_end)
    weights = {f: fence(w) for f, w in p.weights.items()}
    p = replace(p, x=fence(p.x), weights=weights, start=tuple(map(fence, p.start)))
    shape = (*p.x.shape[:2], p.hidden)
    output = fence(np.zeros(shape, p.dtype))
    saved = fence(np.zeros(kernels.saved_size(p.cell, p.x.shape, p.size), p.dtype))
    final = tuple(fence(s) for s in p.start)
    runtime.forward(p.cell, p.weights, p.x, p.start, output, final, saved)
    found = runtime.backward(p.cell, p.weights, p.x, output, saved, fence(np.ones(shape, p.dtype)),
                             tuple(fence(s) for s in final))
    return [output, *final, saved, *found.weights.values(), found.x, *found.h0]

for name in CELLS:
    for dtype in ("float32", "float64"):
        for sizes in ((3, 1, 1, 1), (2, 3, 5, 17), (2, 9, 16, 16), (1, 2, 7, 31)):
            problem = draw(ALL_CELLS[name], sizes, dtype)
            same(name, call(problem, at_end=True), call(problem, at_end=False))
BREAK
print("done")
"""
TOUCH = """
fence = fenced(np.zeros(5, np.float32), True)
ctypes.c_char.from_address(fence.ctypes.data + fence.nbytes).value
"""


def test_nothing_outside_any_array_is_touched() -> None:
    code = CODE.replace("CELLS:", "('gru', 'gru_reset_before', 'lstm', 'sru'):")
    assert child.run(code.replace("BREAK", "")) == "done\n"


def test_touching_the_page_beyond_ends_the_process() -> None:
    code = CODE.replace("in CELLS:", "in ():").replace("BREAK", TOUCH)
    with pytest.raises(AssertionError, match="exit code -"):
        child.run(code)


PRODUCTS = (
    CODE.split("def call(", maxsplit=1)[0]
    + """
from grus.kernels import matrices, terms
from products import matmul

def scratch(size):
    "Memory for packing that ends where it must not be left."
    memory = fenced(np.zeros(-(-size // 64) * 64 - SHORT, np.uint8), True)
    return memory, memory.ctypes.data

terms.take, terms.give = scratch, lambda block: None
SIZES = ((3, 600, 4), (9, 17, 33), (130, 33, 300), (8, 513, 16), (257, 1, 9))
for dtype in ("float32", "float64"):
    for rows, columns, depth in SIZES:
        for at_end in (True, False):
            a, b, c = (fenced(np.ones(shape, dtype), at_end)
                       for shape in ((depth, rows), (depth, columns), (rows, columns)))
            matmul(a.T, b, c)
            assert (c == depth).all()
            matmul(fenced(np.ones((rows, depth), dtype), at_end), b, c, adds=True)
            assert (c == 2 * depth).all()
print("done")
"""
)


def test_products_touch_nothing_outside_their_matrices_and_their_scratch() -> None:
    assert child.run(PRODUCTS.replace("SHORT", "0")) == "done\n"


def test_a_scratch_that_is_too_short_ends_the_process() -> None:
    # Panels of B, then of A, all of them used by 130 rows and 600 columns or more.
    with pytest.raises(AssertionError, match="exit code -"):
        child.run(PRODUCTS.replace("SHORT", "192").replace("(257, 1, 9)", "(257, 513, 300)"))
