"""One layer on the kernels as an autograd function: forward and backward are compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from grus import kernels
from grus.dialects import TorchRecord
from grus.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]


def sequence(
    record: TorchRecord, x: Tensor, start: tuple[Tensor, ...], named: dict[str, Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over ``x`` [time, batch, input]: (output, final states).

    ``named`` holds the layer's parameters under torch's names. Differentiable once; a second
    derivative raises RuntimeError.

    Raises InputError unless all are float32 or all float64, on the CPU.
    """
    tensors = (x, *start, *named.values())
    _check(tensors, ("input", *(f"hx of state {s}" for s in record.cell.states), *named))
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        output, *state = _Sequence.apply(record, tuple(named), *tensors)  # type: ignore[no-untyped-call]
        return output, tuple(state)
    output, state, _ = _forward(record, tuple(named), tensors, keep=False)
    return output, state


def _check(tensors: tuple[Tensor, ...], names: tuple[str, ...]) -> None:
    x = tensors[0]
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"the kernels run torch.float32 and torch.float64 on the CPU, input is {x.dtype} on"
            f" {x.device}"
        )
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise InputError(
                f"{name} must be {x.dtype} on {x.device} like the input, got {tensor.dtype} on"
                f" {tensor.device}"
            )


def array(tensor: Tensor) -> Array:
    """The tensor's memory as a NumPy array, its last axis contiguous."""
    tensor = tensor.detach()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()
    found: Array = tensor.numpy()
    return found


def _families(
    record: TorchRecord, names: tuple[str, ...], tensors: tuple[Tensor, ...], start: Tensor
) -> dict[str, Array]:
    """The weights by family of parameters under torch's names, for states like ``start``."""
    hidden, dtype = start.shape[1], array(start[:0]).dtype
    return record.families(
        dict(zip(names, map(array, tensors), strict=True)),
        hidden,
        lambda n: np.zeros(n, dtype),
        np.concatenate,
    )


def _forward(
    record: TorchRecord, names: tuple[str, ...], tensors: tuple[Tensor, ...], *, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
    cell = record.cell
    x, start = tensors[0], tensors[1 : 1 + len(cell.states)]
    weights = _families(record, names, tensors[1 + len(start) :], start[0])
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
    def backward(ctx: Any, dy: Tensor, *dfinal: Tensor) -> tuple[Any, ...]:
        with torch.no_grad():
            found = _Sequence.gradients(ctx, dy, *dfinal)
        if torch.is_grad_enabled():
            # The gradients depend on these even where dy does not: torch's own guard forgets that.
            source = next(t for t in ctx.saved_tensors[2:] if t.requires_grad)
            found = _Once.apply(source, *found)  # type: ignore[no-untyped-call]
        return None, None, *found

    @staticmethod
    def gradients(ctx: Any, dy: Tensor, *dfinal: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of each tensor that `forward` was given."""
        output, saved, x, *rest = ctx.saved_tensors
        record, names, states = ctx.record, ctx.names, ctx.states
        needs = ctx.needs_input_grad[2:]
        weights = _families(record, names, tuple(rest[states:]), rest[0])
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
        return dx, *map(torch.from_numpy, found.h0), *named


class _Once(torch.autograd.Function):
    """Hands gradients on; a derivative of them, which would be silently wrong, raises."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, *gradients: Tensor | None) -> Any:
        del ctx, source
        return gradients

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError(
            'the kernels have no second derivative yet; a layer with backend="composite" has'
        )
