"""A layer's sequence on its way back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from grus.kernels.steps import Steps
from grus.layers.binding import Binding


@dataclass(frozen=True, slots=True)
class Way:
    """What ran, which of the tensors need a gradient, what forward gave and kept, (dy, *d(final
    states)), and the tensors, (x, *initial states, *parameters)."""

    bound: Binding
    steps: Steps
    needs: tuple[bool, ...]
    output: Tensor
    saved: Tensor
    given: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]
