"""Kernels agree with the reference: each step from the kernel's own previous state.

In float64 within 1e-12; in float32 within the bound that `bounds` derives.
"""

from __future__ import annotations

import pytest

from agreement import Sizes, check_backward, check_forward, draw, train
from bounds import RULES
from cells import ALL_CELLS, FURTHER_CELLS
from grus.equations import OPERATORS, Cell
from grus.kernels import UnsupportedCellError, make_plan
from grus.kernels.functions import SPELLINGS

DTYPES = ("float32", "float64")


def runs(cell: Cell) -> bool:
    try:
        make_plan(cell)
    except UnsupportedCellError:
        return False
    return True


KERNEL_CELLS = {name: cell for name, cell in ALL_CELLS.items() if runs(cell)}

# T, B, I, H: one of everything, then batches across all row tiles, then hidden sizes around the
# widths of vectors (4 to 16 numbers), of tiles (up to 4 vectors) and odd ones.
ONES: list[Sizes] = [(1, 1, 1, 1), (3, 1, 1, 5), (2, 3, 7, 1), (5, 2, 1, 19)]
BATCHES: list[Sizes] = [(2, batch, 3, 17) for batch in range(1, 21)]
WIDTHS: list[Sizes] = [
    (2, 3, 1 + h % 9, h) for h in (2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 130)
]
# Enough work for two threads: rows split, hidden units split for one row and for five.
LONG: list[Sizes] = [(23, 20, 5, 130), (40, 1, 33, 20), (10, 1, 3, 130), (2, 5, 3, 130)]

# Two products a step, one after the other: over long rows the bound is too wide to prove anything
# in float32. The same code runs in float64.
SHORT = {("lstm_projected", "float32")}

every = pytest.mark.parametrize("name", KERNEL_CELLS)
both = pytest.mark.parametrize("dtype", DTYPES)


def test_every_cell_of_the_table_has_kernels_but_the_one_whose_masks_are_given() -> None:
    assert set(KERNEL_CELLS) == set(ALL_CELLS) - {"zoneout"}


def test_every_operator_that_kernels_have_has_an_error_bound() -> None:
    linear = {name for name, op in OPERATORS.items() if op.kind == "linear"}
    assert set(RULES) == set(SPELLINGS) | linear | {"mean", "blocks"}


@both
@every
def test_each_forward_step_is_the_references(name: str, dtype: str) -> None:
    for sizes in (*ONES, *BATCHES, *WIDTHS, *LONG):
        check_forward(train(draw(KERNEL_CELLS[name], sizes, dtype)))


@both
@pytest.mark.parametrize("name", FURTHER_CELLS)
def test_a_cell_that_reads_more_than_x_is_the_references(name: str, dtype: str) -> None:
    """Its gradients of every further input, too."""
    for sizes in ((1, 1, 1, 1), (3, 2, 5, 7), (2, 9, 3, 17), (3, 3, 17, 5)):
        done = train(draw(FURTHER_CELLS[name], sizes, dtype))
        check_forward(done)
        check_backward(done)


@both
@every
def test_backward_of_a_single_step_is_the_references(name: str, dtype: str) -> None:
    for _, batch, inputs, hidden in (*ONES, *BATCHES[::3], *WIDTHS):
        check_backward(train(draw(KERNEL_CELLS[name], (1, batch, inputs, hidden), dtype)))


@both
@every
def test_backward_through_a_sequence_is_the_references(name: str, dtype: str) -> None:
    for sizes in ((3, 2, 5, 7), (4, 9, 3, 17), (5, 3, 1, 33), (6, 1, 9, 1), (2, 5, 3, 130)):
        if (name, dtype) in SHORT and sizes[3] > 17:
            continue
        check_backward(train(draw(KERNEL_CELLS[name], sizes, dtype)))
