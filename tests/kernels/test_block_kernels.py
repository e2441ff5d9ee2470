"""Kernels of block-diagonal weights: the reference's steps, NumPy's bits, and no byte beyond."""

from __future__ import annotations

import numpy as np
import pytest

import child
import gradient_check
from agreement import Sizes, check_backward, check_forward, draw, train
from evaluated import evaluated
from grus.equations import CELLS, Cell
from grus.kernels import Steps
from grus.kernels.show import plan_text
from test_evaluation import forced, results, same, two_threads
from test_guard_pages import CODE

__all__ = ["two_threads"]

MIXED = Cell.parse(
    """q = tanh(V.q @ blocks(h, 3) + U.q @ h + b.q)
    p = q * (Q.p @ blocks(x, 3) + W.p @ x)
    h_next = V.h.T @ blocks(q + p, 3) + 0.5 * h""",
    "mixed",
)
BLOCKED = [CELLS["gru"].in_blocks(8), CELLS["lstm"].in_blocks(3), MIXED]
"""Of one vector of registers several blocks, and of a block several vectors; transposed products
forward as well; dense ones of the same operand."""
SIZES: list[Sizes] = [(3, 1, 8, 8), (2, 9, 6, 24), (2, 4, 3, 48)]
every = pytest.mark.parametrize("cell", BLOCKED, ids=lambda cell: str(cell.name))
both = pytest.mark.parametrize("dtype", ["float32", "float64"])


@every
@both
def test_each_step_is_the_references_forward_and_backward(cell: Cell, dtype: str) -> None:
    for sizes in SIZES:
        done = train(draw(cell, sizes, dtype))
        check_forward(done)
        check_backward(done)


@every
def test_the_derived_gradient_is_that_of_differences(cell: Cell) -> None:
    gradient_check.check(cell)


@pytest.mark.parametrize(
    ("cell", "dtype", "way"),
    [(BLOCKED[0], "float32", "hidden"), (MIXED, "float64", "hidden"), (MIXED, "float32", "rows")],
    ids=str,
)
def test_a_program_means_in_numpy_what_the_kernel_computes(
    cell: Cell, dtype: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads share the units of blocks, or rows."""
    steps = Steps(lengths=np.array([2, 1]))
    alone = results(cell, (2, 2, 3, 18), forced("alone", monkeypatch), dtype, steps)
    arguments = cell, (2, 2, 3, 18), forced(way, monkeypatch), dtype, steps
    compiled = results(*arguments)
    with evaluated():
        same(results(*arguments), compiled)
    same(compiled[:2], alone[:2])


def test_nothing_outside_any_array_is_touched() -> None:
    code = CODE.replace("in CELLS:", "in ('gru', 'lstm'):").replace("BREAK", "")
    code = code.replace("draw(ALL_CELLS[name],", "draw(ALL_CELLS[name].in_blocks(3),")
    assert child.run(code) == "done\n"


def test_the_plan_says_which_sums_are_of_a_block() -> None:
    text = plan_text(MIXED)
    assert "for k of the unit's block of 3: h[k] * [#1 += V.q]" in text
    assert "for k: h[k] * [#1 += U.q]" in text
    assert "Q.p @ blocks(x, 3) + W.p @ x" in text
