"""The reference's evaluator over torch operations: any cell, any device, any derivative; slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.equations import Cell, columns, expected, sizes
from grus.kernels import PLAIN, Steps
from grus.reference import Operations, draw, loop, split, table

TORCH = Operations(
    name="torch",
    table=table(torch),
    where=torch.where,
    stack=torch.stack,
    zeros_like=torch.zeros_like,
)


def families(record: TorchRecord, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A layer's tensors by the cell's families of weights."""
    if not named:
        return {}
    like = next(iter(named.values()))
    return record.families(named, record.bias_size(named), like.new_zeros, torch.cat)


def sequence(
    cell: Cell,
    weights: Mapping[str, Tensor],
    x: Tensor,
    start: tuple[Tensor, ...],
    steps: Steps = PLAIN,
    ops: Operations = TORCH,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over ``x`` [time, batch, input]: (output, final states)."""
    if x.shape[0] == 0:
        axis = cell.shapes.values[cell.output]
        width = sizes(cell, weights, x.shape[-1], start, row=True)[str(axis)]
        return x.new_zeros((0, *x.shape[1:-1], width)), tuple(s.clone() for s in start)
    if steps.seed is None and cell.masks:
        cell = expected(cell)
    further = arriving(cell, weights, x, start)
    x = further.pop("x")
    done = loop(
        cell,
        split(cell, weights),
        x,
        start,
        _tensor(steps.lengths, x),
        _tensor(steps.resets, x),
        steps.reverse,
        steps.reset_to,
        _masks(cell, weights, x, steps) | further,
        ops,
    )
    return done.output, done.state


def arriving(
    cell: Cell, weights: Mapping[str, Tensor], x: Tensor, start: tuple[Tensor, ...]
) -> dict[str, Tensor]:
    """What arrives at each step by name, [time, batch, size]: x itself, and the further inputs that
    stand behind it in ``x``."""
    if not cell.further:
        return {"x": x}
    places = columns(cell, sizes(cell, weights, x.shape[2], start, row=True))
    return {name: x[..., first : first + count] for name, (first, count) in places.items()}


def _masks(cell: Cell, weights: Mapping[str, Tensor], x: Tensor, steps: Steps) -> dict[str, Tensor]:
    """The drawn masks, those of the kernels."""
    if steps.seed is None or not cell.masks:
        return {}
    size = {axis: int(n) for axis, n in sizes(cell, weights, x.shape[2]).items()}
    drawn = draw(cell, size, x.shape[0], x.shape[1], steps.seed, steps.first)
    return {name: torch.from_numpy(mask).to(x) for name, mask in drawn.items()}


def _tensor(value: Any, x: Tensor) -> Tensor | None:
    return None if value is None else torch.as_tensor(value, device=x.device)
