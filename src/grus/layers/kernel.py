"""One layer's sequence on the kernels, over plain tensors: no derivative is recorded here."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from grus import kernels
from grus.kernels.steps import PLAIN, Steps
from grus.layers import addresses
from grus.layers.binding import Array, Binding, array
from grus.layers.launch import kept
from grus.layers.launch_backward import backwards
from grus.layers.launch_forward import forwards
from grus.layers.way import Way


def forward(
    bound: Binding, steps: Steps, tensors: tuple[Tensor, ...], *, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
    """(output, final states, what `backward` needs or None)."""
    if bound.cell.masks and steps.seed is None:
        bound = bound.expected
    if _dense(steps):
        return forwards(bound, tensors[0].dtype).forward(tensors, steps, keep=keep)
    addresses.check(bound.called, tensors)
    cell, x, start = bound.cell, tensors[0], bound.start(tensors)
    weights = bound.arrays(tensors)
    output = x.new_empty((*x.shape[:2], kernels.output_size(cell, weights)))
    final = tuple(torch.empty_like(s, memory_format=torch.contiguous_format) for s in start)
    axes = kernels.axis_sizes(cell, weights)
    saved = kept(kernels.saved_size(cell, x.shape, axes, steps), x) if keep else None
    kernels.forward(
        cell,
        weights,
        array(x),
        tuple(map(array, start)),
        output.numpy(),
        tuple(f.numpy() for f in final),
        None if saved is None else saved.numpy(),
        steps=steps,
    )
    return output, final, saved


def backward(way: Way) -> list[Tensor | None]:
    """The gradient of each of the tensors that needs one."""
    bound, steps, needs, tensors = way.bound, way.steps, way.needs, way.tensors
    if bound.cell.masks and steps.seed is None:
        bound = bound.expected
    if _dense(steps):
        return backwards(bound, tensors[0].dtype).backward(way)
    way.check()
    first, (dy, *dfinal) = 1 + bound.states, way.given
    found = kernels.backward(
        bound.cell,
        bound.arrays(tensors),
        array(tensors[0]),
        array(way.output),
        array(way.saved),
        array(dy),
        tuple(map(array, dfinal)),
        steps=steps,
        need_x=needs[0],
        need_weights=any(needs[first:]),
    )
    grads: dict[str, Array] = {}
    if found.weights:
        grads = bound.record.gradients(found.weights, list(bound.names), np.concatenate)
    arrays = [found.x, *found.h0, *(grads.get(name) for name in bound.names)]
    return [
        torch.from_numpy(a) if a is not None and need else None
        for a, need in zip(arrays, needs, strict=True)
    ]


def _dense(steps: Steps) -> bool:
    """Whether every row has all steps, in one pass."""
    return steps is PLAIN or (steps.lengths is None and not steps.recompute)
