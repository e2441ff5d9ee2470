"""Which code runs a layer: written rules, and a way to ask.

Kernels run float32 and float64 on the CPU. The composite (the reference's evaluator over torch
operations) runs everything else: other devices and dtypes, tracing by ``torch.compile`` and
``torch.export``, and whatever asks for it by ``backend="composite"`` or GRUS_BACKEND=reference.
A cell that the kernels cannot run is an error, never a silent change of speed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from grus.kernels.backend import backend

Path = Literal["kernels", "composite"]


def choose(x: Tensor, asked: Path | None) -> Path:
    """The path for input ``x``. Raises InputError for an unknown GRUS_BACKEND."""
    if asked is not None:
        return asked
    if torch.compiler.is_compiling() or backend() == "reference":
        return "composite"
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        return "kernels"
    return "composite"
