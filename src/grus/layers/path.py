"""Which code runs a layer: written rules, and a way to ask.

Kernels run float32 and float64 on the CPU. The composite (the reference's evaluator over torch
operations) runs everything else: other devices and dtypes, tracing by ``torch.compile`` and
``torch.export``, and whatever asks for it by ``backend="composite"`` or GRUS_BACKEND=reference.
A cell that the kernels cannot run is an error, never a silent change of speed.
"""

from __future__ import annotations

import os
from typing import Literal

import torch
from torch import Tensor

from grus.errors import InputError

Path = Literal["kernels", "composite"]
VARIABLE = "GRUS_BACKEND"


def choose(x: Tensor, asked: Path | None) -> Path:
    """The path for input ``x``. Raises InputError for an unknown GRUS_BACKEND."""
    setting = os.environ.get(VARIABLE, "kernels")
    if setting not in ("kernels", "reference"):
        raise InputError(f"{VARIABLE} must be kernels or reference, got {setting!r}")
    if asked is not None:
        return asked
    runs = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if not runs or setting == "reference" or torch.compiler.is_compiling():
        return "composite"
    return "kernels"
