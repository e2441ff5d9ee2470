"""torch's own checks of first and second derivatives, in float64: every cell, every way in time.

Forward mode, batched gradients (vmap over the backward) and forward over reverse are checked by the
same calls, for the plainest and the fullest way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

import grus  # noqa: E402
from cells import ALL_CELLS, draw_states, draw_weights, sizes  # noqa: E402
from grus.dialects import TorchRecord  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.kernels import Steps, UnsupportedCellError, make_plan  # noqa: E402
from grus.layers import dispatch  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH = 3, 2
SIZE = {"inputs": 2, "hidden": 2, "projection": 1}

LENGTHS = np.array([1, 3])
RESETS = np.array([[False, True], [True, False], [False, True]])
STEPS = {
    "plain": Steps(),
    "reverse": Steps(reverse=True),
    "lengths": Steps(lengths=LENGTHS),
    "resets": Steps(resets=RESETS),
    "resets to h0": Steps(resets=RESETS, reset_to="h0"),
    "recompute": Steps(recompute=True),
    "all": Steps(lengths=LENGTHS, resets=RESETS, reset_to="h0", reverse=True, recompute=True),
}
CELLS = {name: cell for name, cell in ALL_CELLS.items() if {i.name for i in cell.inputs} == {"x"}}


def on_kernels(cell: Cell) -> bool:
    try:
        make_plan(cell)
    except UnsupportedCellError:
        return False
    return True


def problem(cell: Cell) -> tuple[list[Tensor], tuple[str, ...]]:
    """x, the initial states and the parameters, and the parameters' names."""
    rng, size = np.random.default_rng(0), sizes(cell, **SIZE)
    shapes = TorchRecord(cell).shapes(size)
    drawn = [rng.normal(0.0, 1.0, (TIME, BATCH, size["input"]))]
    drawn += draw_states(cell, size, BATCH, rng)
    drawn += [rng.normal(0.0, 0.6, shape) for shape in shapes.values()]
    assert draw_weights(cell, size, rng).keys() == cell.families.keys()
    return [torch.from_numpy(a).requires_grad_() for a in drawn], tuple(shapes)


def call(cell: Cell, names: tuple[str, ...], steps: Steps) -> Any:
    record, count = TorchRecord(cell), 1 + len(cell.states)
    asked = None if on_kernels(cell) else "composite"

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(names, tensors[count:], strict=True))
        start = tensors[1:count]
        output, final = dispatch.sequence(record, tensors[0], start, named, steps, asked)
        return output, *final

    return run


every = pytest.mark.parametrize("cell", CELLS)
ways = pytest.mark.parametrize("steps", STEPS)


@ways
@every
def test_the_first_derivative_is_right_in_every_mode(cell: str, steps: str) -> None:
    tensors, names = problem(CELLS[cell])
    function = call(CELLS[cell], names, STEPS[steps])
    modes = dict.fromkeys(("check_forward_ad", "check_batched_grad"), steps in ("plain", "all"))
    slow = (cell, steps) == ("gru", "plain")  # number by number, else along random directions
    assert gradcheck(function, tensors, fast_mode=not slow, **modes)


@ways
@every
def test_the_second_derivative_is_right(cell: str, steps: str) -> None:
    tensors, names = problem(CELLS[cell])
    function = call(CELLS[cell], names, STEPS[steps])
    forward = steps in ("plain", "all")
    assert gradgradcheck(function, tensors, fast_mode=True, check_fwd_over_rev=forward)


def test_every_cell_of_the_package_is_among_them() -> None:
    assert set(grus.CELLS) <= set(CELLS)
    assert sum(map(on_kernels, CELLS.values())) >= len(grus.CELLS)
