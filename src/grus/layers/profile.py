"""What torch's profiler shows of a layer: each sequence by its cell and its shape."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from grus.equations import Cell

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
