"""A layer's sequence on its way back."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from grus.kernels.steps import Steps
from grus.layers import addresses
from grus.layers.binding import Binding


class Way(NamedTuple):
    """What ran, which of the tensors need a gradient, what forward gave and kept, (dy, *d(final
    states)), and the tensors, (x, *initial states, *parameters)."""

    bound: Binding
    steps: Steps
    needs: tuple[bool, ...]
    output: Tensor
    saved: Tensor
    given: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]

    def check(self) -> None:
        """Raises InputError for a tensor without an address: forward saw another one."""
        states = self.bound.cell.states
        names = (
            "output",
            "what forward kept",
            *(f"the gradient of {s}" for s in ("output", *states)),
        )
        addresses.check(names, (self.output, self.saved, *self.given))
        addresses.check(self.bound.called, self.tensors)
