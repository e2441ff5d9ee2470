"""One layer's sequence on the kernels, over torch's tensors: which of them a kernel may read, and
the calls. No derivative is recorded here.

Only plain, dense tensors in the CPU's memory reach a kernel. What else torch calls a tensor (a
wrapper around others, one on another device, a sparse, nested or quantized one) takes the
composite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

import torch
from torch import Tensor

from grus.errors import InputError, MemoryKindError
from grus.kernels import Steps
from grus.layers.parameters import Binding
from grus.runtime import Adjoint, Backwards, Forwards, Library, recompute

PLAIN_TENSORS = (Tensor, torch.nn.Parameter)
"""The classes of nearly all tensors: no others need be looked at before the kernels are asked."""
_HANDLERS = (
    Tensor.__torch_function__.__func__,  # type: ignore[attr-defined]
    torch._C._disabled_torch_function_impl,
)
_KEYS = 0
"""What a plain tensor may have, and what is resolved before its address is taken."""
for _key in ("CPU", "AutogradCPU", "AutocastCPU", "ADInplaceOrView", "Negative", "ZeroTensor"):
    _KEYS |= torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _key)).raw_repr()


guards: Callable[[Sequence[Tensor]], Callable[..., bool]] | None = None
"""torch's own question whether tensors are like others, which compiled graphs ask in the same way;
None in a torch that keeps it elsewhere, where every call makes its key."""
with suppress(ImportError):
    from torch._C._dynamo.guards import TensorGuards

    def guards(tensors: Sequence[Tensor]) -> Callable[..., bool]:
        """Whether others are of the same types, dtypes, shapes, strides and devices."""
        asked = TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)
        check: Callable[..., bool] = asked.check
        return check


def usual(tensors: Sequence[Tensor]) -> bool:
    """Whether all are of the first one's dtype and of torch's two classes."""
    dtype = tensors[0].dtype
    for tensor in tensors:  # a generator costs as much as a small kernel
        if tensor.dtype is not dtype or type(tensor) not in PLAIN_TENSORS:
            return False
    return True


def is_dense(tensor: Tensor) -> bool:
    """Whether torch's own CPU kernels read the tensor: no dispatch key of another device or
    layout, of a wrapper or a transform, and no ``__torch_function__`` of its class's own."""
    handler = type(tensor).__torch_function__
    if getattr(handler, "__func__", handler) not in _HANDLERS:
        return False
    return not torch._C._dispatch_keys(tensor).raw_repr() & ~_KEYS


def is_traced(tensor: Tensor) -> bool:
    """Whether the tensor is one of those that stand for dense ones while torch writes operations
    down."""
    from torch._subclasses import FakeTensor
    from torch._subclasses.functional_tensor import FunctionalTensor

    return type(tensor) in PLAIN_TENSORS or isinstance(tensor, (FakeTensor, FunctionalTensor))


def check(names: Sequence[str], tensors: Sequence[Tensor], *, traced: bool = False) -> None:
    """Raises MemoryKindError for a tensor that no kernel may read but the composite perhaps can,
    InputError for one that nobody can read."""
    for name, tensor in zip(names, tensors, strict=True):
        if not (is_traced if traced else is_dense)(tensor):
            raise MemoryKindError(
                f"the kernels read plain dense tensors in the CPU's memory, {name} is a"
                f" {type(tensor).__name__} of {tensor.dtype} on {tensor.device}"
            )
        if not traced:
            check_storage(name, tensor)


def check_storage(name: str, tensor: Tensor) -> None:
    """Raises InputError where a tensor reaches beyond its storage, which was resized or freed."""
    if not tensor.numel() or tensor._is_zerotensor():
        return
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    needs = (tensor.storage_offset() + last + 1) * tensor.element_size()
    held = tensor.untyped_storage().nbytes()
    if held < needs:
        raise InputError(f"{name} has a storage of {held} bytes and needs {needs}: it was freed")


def check_storages(tensors: Sequence[Tensor]) -> None:
    """Raises InputError where a storage was freed.

    A storage that was made smaller lies elsewhere from then on. Calls know their parameters by
    their addresses, so that such a parameter is looked at anew; x and the states are not, and
    whoever shrinks the storage under one that he goes on to hand in is not told.
    """
    for tensor in tensors:
        check_storage("a tensor", tensor)


def unusual(tensor: Tensor) -> bool:
    """True where memory does not hold the numbers: negated when read, or zeros without memory."""
    return tensor.is_neg() or tensor._is_zerotensor()


def by_rows(tensor: Tensor) -> Tensor:
    """The tensor in memory as its numbers are, its last axis contiguous: itself where it is so. Of
    one that is expanded along its last axis, axes along which it is expanded stay so."""
    if unusual(tensor):
        return tensor.resolve_neg().clone(memory_format=torch.contiguous_format)
    if tensor.stride(-1) == 1 or tensor.shape[-1] == 1:
        return tensor
    if tensor.stride(-1) == 0:
        leading = [slice(0, 1) if s == 0 else slice(None) for s in tensor.stride()[:-1]]
        once = tensor[tuple(leading)].clone(memory_format=torch.contiguous_format)
        return once.expand(tensor.shape)
    return tensor.contiguous()


TORCH = Library(
    Tensor.data_ptr,
    check_storages,
    check,
    by_rows,
    unusual,
    guards,
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
