"""Calls at once: each comes after those that it waits for, whatever the threads do."""

from __future__ import annotations

import array
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from evaluated import evaluated
from grus.kernels import threads
from grus.kernels.loops import LoopError
from grus.kernels.several_calls import Part, together
from grus.kernels.terms import Term, Terms

LINKS = 40


def chain(links: int = LINKS, size: int = 24) -> tuple[np.ndarray, list[Part], list[array.array]]:
    """A matrix product after the other, each of what the one before gave: 2 on the diagonal, so
    that each result is twice the last."""
    values = np.zeros((links + 1, size, size))
    values[0] = 1.0
    two, parts, kept = 2.0 * np.eye(size), [], [np.zeros(1 << 18, np.uint8)]
    kept.append(two)
    item, row = values.itemsize, values.strides[1]
    for k in range(links):
        one = Term((0, 0, row, item), (1, 0, row, 0), (2, 0, row), (size, size, size))
        terms = Terms("float64", [one])
        block = terms.block[:]
        where = (two.ctypes.data, values[k].ctypes.data, values[k + 1].ctypes.data)
        for slot, buffer, offset in terms.moving:
            block[slot] = where[buffer] + offset
        scratch = np.zeros(terms.scratch + 64, np.uint8)
        block[0], block[1] = 1, scratch.ctypes.data + -scratch.ctypes.data % 64
        kept += [terms, scratch]
        parts.append(Part(terms.program.address, block, (k - 1,) if k else ()))
    return values, parts, kept


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_call_waits_for_those_it_comes_after(count: int) -> None:
    if not threads.openmp() and count > 1:
        pytest.skip("no OpenMP runtime: there is one thread")
    values, parts, _kept = chain()
    for _ in range(30):
        values[1:] = 0.0
        together(parts, count)
        assert (values[-1] == 2.0**LINKS).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_call_that_does_not_wait_is_a_race(count: int) -> None:
    if not threads.openmp() and count > 1:
        pytest.skip("no OpenMP runtime: there is one thread")
    with evaluated():
        values, parts, _kept = chain(4, size=4)
        together(parts, count)
        assert (values[-1] == 2.0**4).all()
        hasty = [replace(part, after=()) for part in parts]
        with nullcontext() if count == 1 else pytest.raises(LoopError, match="reads what thread"):
            together(hasty, count)


def test_two_are_waited_for() -> None:
    values, parts, _kept = chain()
    last = replace(parts[-1], after=(0, LINKS - 2))
    together([*parts[:-1], last], 2)
    assert (values[-1] == 2.0**LINKS).all()
