"""What torch is doing where a layer is called: recording, transforming, profiling; and the dtypes
that the kernels run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.profiler import record_function

from grus.equations import Cell

WIDE = (torch.float32, torch.float64)
"""What the kernels run."""
NARROW = (torch.float16, torch.bfloat16)
"""What they run in float32."""

jit_state = torch._C._get_tracing_state
"""None outside of ``torch.jit.trace``."""
_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack

_Constant = TypeVar("_Constant", bound=Callable[..., str])


def constant(function: _Constant) -> _Constant:
    """What does not change while a graph is made: called then, its result becomes part of it."""
    marked: _Constant = torch.compiler.assume_constant_result(function)  # type: ignore[no-untyped-call]
    return marked


exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", bool)
"""True inside ``torch.export``; torch 2.6 cannot be asked and says nothing."""


def jit_traced() -> bool:
    """True inside ``torch.jit.trace``, which ``torch.onnx.export(..., dynamo=False)`` runs."""
    return jit_state() is not None


def onnx_exported() -> bool:
    """True where ``torch.onnx.export`` (dynamo=True) records a model."""
    return torch.compiler.is_compiling() and torch.onnx.is_in_onnx_export()


def traced() -> bool:
    """True where torch writes down or replaces the operations that run: in ``torch.compile``,
    ``torch.export``, ``make_fx``, ``torch.jit.trace``, with fake tensors, in any dispatch mode."""
    return torch.compiler.is_compiling() or jit_state() is not None or _modes() > 0


def differentiated() -> bool:
    """True inside a ``torch.func`` transform, and where forward mode follows tangents."""
    transformed: bool = torch._C._are_functorch_transforms_active()
    return transformed or forward_ad._current_level >= 0


profiled = torch._C._autograd._profiler_enabled
"""True while a profiler runs. Nothing is named otherwise."""
_NOTHING: AbstractContextManager[Any] = nullcontext()


def shown(
    what: str, cell: Cell, x: Tensor, start: Sequence[Tensor], several: str = ""
) -> AbstractContextManager[Any]:
    """A span of the profiler, "grus::gru forward, time 9, batch 2, input 3, hidden 4", for ``x``
    [time, batch, input] and the initial states [batch, size]; ``several`` says what runs as one."""
    if not profiled():
        return _NOTHING
    time, batch, inputs = x.shape
    return record_function(
        f"grus::{cell.name} {what}, {several + ', ' if several else ''}time {time},"
        f" batch {batch}, input {inputs}, hidden {start[0].shape[-1]}"
    )
