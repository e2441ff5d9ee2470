"""Which code runs a layer: written rules, and a way to ask.

Kernels run float32 and float64 on the CPU. The composite (the reference's evaluator over torch
operations) runs everything else: other devices and dtypes, tracing by ``torch.compile`` and
``torch.export``, a projection, and whatever asks for it by ``backend="composite"`` or
GRUS_BACKEND=reference.
A cell that the kernels cannot run is an error, never a silent change of speed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from grus.errors import InputError
from grus.kernels.backend import backend

Path = Literal["kernels", "composite"]


def choose(x: Tensor, asked: Path | None, projected: bool = False) -> Path:
    """The path for input ``x``; ``projected``: the cell has a projection after its state.

    Raises InputError for an unknown GRUS_BACKEND, and where the kernels are asked for what they
    do not run.
    """
    if projected:
        if asked == "kernels":
            raise InputError("the kernels run no projection yet")
        return "composite"
    if asked is not None:
        return asked
    if torch.compiler.is_compiling() or backend() == "reference":
        return "composite"
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        return "kernels"
    return "composite"
