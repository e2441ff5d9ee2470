"""Kernels of cells that nobody wrote: every operator nested at random."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from agreement import Sizes, TooWideError, check_backward, check_forward, draw, train
from grus.equations import Cell
from grus.kernels import UnsupportedCellError, make_plan
from random_cells import cells

SIZES: list[Sizes] = [(2, 3, 4, 5), (1, 9, 2, 17), (3, 1, 1, 1)]


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cells(), st.sampled_from(SIZES), st.sampled_from(["float32", "float64"]))
def test_kernels_of_random_cells_agree_with_the_reference(
    cell: Cell, sizes: Sizes, dtype: str
) -> None:
    assume(cell.families)
    try:
        make_plan(cell)
        with np.errstate(all="ignore"):
            run = train(draw(cell, sizes, dtype))
            check_forward(run)
            check_backward(run)
    except (UnsupportedCellError, TooWideError):
        assume(False)
