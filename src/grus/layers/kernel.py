"""One layer's sequence on the kernels, over plain tensors: no derivative is recorded here."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from grus.kernels import Steps
from grus.layers import addresses
from grus.layers.binding import Binding
from grus.runtime import Adjoint, Backwards, Forwards, Library, recompute

_check, _rows = addresses.check, addresses.by_rows
TORCH = Library(
    Tensor.data_ptr,
    addresses.check_storages,
    _check,
    _rows,
    addresses.unusual,
    addresses.guards,
    torch.from_numpy,
)


def forward(
    bound: Binding, steps: Steps, tensors: tuple[Tensor, ...], *, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
    """(output, final states, what `backward` needs or None)."""
    calls = forwards(running(bound, steps), tensors[0].dtype)
    if keep and steps.recompute:
        return recompute.forward(calls, tensors, steps)
    return calls.forward(tensors, steps, keep=keep)


def backward(bound: Binding, call: Adjoint) -> list[Tensor | None]:
    """The gradient of each of the tensors that needs one."""
    bound, dtype = running(bound, call.steps), call.tensors[0].dtype
    if call.steps.recompute:
        return recompute.backward(backwards(bound, dtype), forwards(bound, dtype), call)
    return backwards(bound, dtype).backward(call)


def running(bound: Binding, steps: Steps) -> Binding:
    """The binding as it runs: masks are drawn, or without a seed replaced by their means."""
    return bound.expected if bound.cell.masks and steps.seed is None else bound


@lru_cache(maxsize=512)
def forwards(bound: Binding, dtype: torch.dtype) -> Forwards:
    """The forward calls of a binding in a dtype, made once."""
    return Forwards(bound.stacked, str(dtype).removeprefix("torch."), TORCH)


@lru_cache(maxsize=512)
def backwards(bound: Binding, dtype: torch.dtype) -> Backwards:
    """The backward calls of a binding in a dtype, made once."""
    return Backwards(bound.stacked, str(dtype).removeprefix("torch."), TORCH)
