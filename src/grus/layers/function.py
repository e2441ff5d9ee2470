"""One layer on the kernels as an autograd function: forward and backward are compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grus import kernels
from grus.dialects import TorchRecord

Array = np.ndarray[Any, np.dtype[Any]]


def sequence(
    record: TorchRecord, x: Tensor, start: tuple[Tensor, ...], named: dict[str, Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over ``x`` [time, batch, input]: (output, final states).

    ``named`` holds the layer's parameters under torch's names. Differentiable once; a second
    derivative raises.
    """
    tensors = (x, *start, *named.values())
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        output, *state = _Sequence.apply(record, tuple(named), *tensors)  # type: ignore[no-untyped-call]
        return output, tuple(state)
    output, state, _ = _forward(record, tuple(named), tensors, keep=False)
    return output, state


def array(tensor: Tensor) -> Array:
    """The tensor's memory as a NumPy array, its last axis contiguous."""
    tensor = tensor.detach()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()
    found: Array = tensor.numpy()
    return found


def _families(record: TorchRecord, names: tuple[str, ...], arrays: list[Array]) -> dict[str, Array]:
    hidden = arrays[0].shape[0] // len(next(iter(record.cell.families.values())))
    dtype = arrays[0].dtype
    return record.families(
        dict(zip(names, arrays, strict=True)),
        hidden,
        lambda n: np.zeros(n, dtype),
        np.concatenate,
    )


def _forward(
    record: TorchRecord, names: tuple[str, ...], tensors: tuple[Tensor, ...], *, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
    cell = record.cell
    x, start = tensors[0], tensors[1 : 1 + len(cell.states)]
    weights = _families(record, names, [array(t) for t in tensors[1 + len(start) :]])
    shape = (*x.shape[:2], start[0].shape[1])
    output = x.new_empty(shape)
    final = tuple(torch.empty_like(s, memory_format=torch.contiguous_format) for s in start)
    saved = x.new_empty((len(kernels.layout(cell).saved), *shape)) if keep else None
    kernels.forward(
        cell,
        weights,
        array(x),
        tuple(map(array, start)),
        output.numpy(),
        tuple(f.numpy() for f in final),
        None if saved is None else saved.numpy(),
    )
    return output, final, saved


def _matmul(a: Array, b: Array, out: Array) -> None:
    # torch's product shares its threads with the kernels; NumPy's would bring its own.
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, record: TorchRecord, names: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        output, final, saved = _forward(record, names, tensors, keep=True)
        ctx.record, ctx.names, ctx.states = record, names, len(final)
        ctx.save_for_backward(output, saved, *tensors)
        return output, *final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *dfinal: Tensor) -> tuple[Any, ...]:
        output, saved, x, *rest = ctx.saved_tensors
        record, names, states = ctx.record, ctx.names, ctx.states
        needs = ctx.needs_input_grad[2:]
        weights = _families(record, names, [array(t) for t in rest[states:]])
        found = kernels.backward(
            record.cell,
            weights,
            array(x),
            output.numpy(),
            saved.numpy(),
            array(dy),
            tuple(map(array, dfinal)),
            need_x=needs[0],
            need_weights=any(needs[1 + states :]),
            matmul=_matmul,
        )
        grads: dict[str, Array] = {}
        if found.weights:
            grads = record.gradients(found.weights, list(names), np.concatenate)
        dx = None if found.x is None else torch.from_numpy(found.x)
        named = [torch.from_numpy(grads[n]) if n in grads else None for n in names]
        return None, None, dx, *map(torch.from_numpy, found.h0), *named
