"""A layer's calls on the kernels straight from torch's tensors: every row of one length.

What most calls are, and as little as they can cost. All that follows from shapes, strides and where
the parameters lie is worked out once and kept; a call allocates its results and hands over
addresses. Numbers are never kept: parameters are packed anew in each call.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from grus import kernels
from grus.errors import InputError
from grus.kernels.call import Kernel, Launcher, kernel
from grus.kernels.machine import DType
from grus.kernels.memory import lasting
from grus.kernels.prepared import Finish, Part, Prepared
from grus.kernels.slots import Clear, Variant
from grus.kernels.steps import Steps
from grus.layers.binding import Binding
from grus.layers.likeness import Found

Kind = Literal["inference", "training", "backward"]

LARGE = 1 << 20
"""Bytes from which what is kept for backward lies in memory that comes back."""
MOST = 256
"""Prepared calls kept; beyond it all are forgotten and made again."""


class Launch:
    """The calls of one binding in one dtype."""

    def __init__(self, bound: Binding, dtype: torch.dtype) -> None:
        self.bound, self.cell = bound, bound.cell
        self.item = dtype.itemsize
        self.dtype = cast("DType", str(dtype).removeprefix("torch."))
        self.layout = kernels.layout(self.cell)
        self.gates = tuple(bound.record.gates(name) for name in bound.names)
        self.count = 1 + bound.states
        self.launchers: dict[tuple[Kind, Clear], Launcher] = {}
        self.calls: dict[Any, Any] = {}
        self.found: Found[Any] = Found()

    def launcher(self, kind: Kind, clear: Clear) -> Launcher:
        """The calls of a kind, compiled when first asked for."""
        if (kind, clear) not in self.launchers:
            self.launchers[kind, clear] = self._launcher(self._kernel(kind, Variant(clear=clear)))
        return self.launchers[kind, clear]

    def _kernel(self, kind: Kind, variant: Variant) -> Kernel:
        plan, output = self.layout, self.cell.output
        if kind == "backward":
            back = plan.derived.cell
            return kernel(back, self.dtype, plan.adjoints, plan.sums, self.cell, variant)
        stores = (output,) if kind == "inference" else (output, *plan.saved)
        return kernel(self.cell, self.dtype, stores, variant=variant)

    def _launcher(self, program: Kernel) -> Launcher:
        places = self.bound.record.places(self.bound.names)
        weights = program.plan.cell.weights
        return Launcher(program, tuple(places[w.family, w.gate] for w in weights))

    def remember(self, key: tuple[Any, ...], call: object) -> None:
        """Keep a prepared call."""
        if len(self.calls) >= MOST:
            self.calls.clear()
        self.calls[key] = call

    def sizes(self, tensors: tuple[Tensor, ...]) -> dict[str, int]:
        """The size of each axis, and of a single number."""
        parameters, found = tensors[self.count :], {"input": tensors[0].shape[2], "one": 1}
        for axis, (tensor, dim, parts) in self.bound.axes.items():
            found[axis] = parameters[tensor].shape[dim] // parts
        return found

    def check(self, tensors: tuple[Tensor, ...], sizes: dict[str, int]) -> None:
        """Raises InputError for a parameter of another shape than its layer was made with."""
        bias = any(name.startswith("bias") for name in self.bound.names)
        wanted = self.bound.record.shapes(sizes, bias)
        for name, tensor in zip(self.bound.names, tensors[self.count :], strict=True):
            if tuple(tensor.shape) != wanted[name]:
                raise InputError(
                    f"parameter {name} must be of shape {wanted[name]}, got {tuple(tensor.shape)}"
                )

    def part(self, buffer: int, tensor: Tensor, backwards: bool) -> Part:
        """Where a tensor of [time, batch, axis] lies, its last step first if ``backwards``."""
        time, row, _ = tensor.stride()
        return turned(buffer, 0, (time * self.item, row * self.item), len(tensor), backwards)

    def blocks(
        self, buffer: int, names: dict[str, int], lead: tuple[int, int], backwards: bool
    ) -> dict[str, Part]:
        """Where arrays of [time, batch, size] lie that follow each other in a buffer."""
        (time, batch), found, first = lead, {}, 0
        for name, size in names.items():
            row = size * self.item
            found[name] = turned(buffer, first, (batch * row, row), time, backwards)
            first += time * batch * row
        return found

    def prepared(
        self,
        launcher: Launcher,
        sizes: dict[str, int],
        tensors: tuple[Tensor, ...],
        parts: dict[str, Part],
        rows: list[tuple[int, int]],
        first: int,
        backwards: bool,
        finish: Finish | None = None,
    ) -> Prepared:
        """The call; ``rows`` are the states' buffers and bytes of a row."""
        x = tensors[0]
        time, batch = x.shape[:2]
        starts = np.full(batch, first + (time - 1 if backwards else 0))
        sign = -1 if backwards else 1
        axes = (time, batch, x.shape[2], sizes["hidden"], sizes.get("projection", 0))
        places: list[int] = []
        for tensor, gates in zip(tensors[self.count :], self.gates, strict=True):
            row = tensor.stride(0) * self.item
            places += (tensor.data_ptr(), row, tensor.shape[0] // gates * row)
        own = launcher.kernel.sizes(axes)
        return Prepared(launcher, own, tuple(places), parts, rows, starts, sign, finish)


def kept(count: int, like: Tensor) -> Tensor:
    """``count`` numbers for `backward`: memory of this package's, where fresh pages would cost
    more than what is written to them."""
    if count * like.element_size() < LARGE:
        return like.new_empty(count)
    return torch.from_numpy(lasting(count, np.dtype(str(like.dtype).removeprefix("torch."))))


def turned(buffer: int, first: int, strides: tuple[int, int], steps: int, backwards: bool) -> Part:
    """Where an array lies whose steps are taken in either order."""
    time, row = strides
    return (
        (buffer, first + (steps - 1) * time, -time, row)
        if backwards
        else (buffer, first, time, row)
    )


def cleared(steps: Steps, kept: Literal["copy", "collect"]) -> Clear:
    """What a program does at a reset; ``kept`` where the state goes back to h0."""
    if steps.resets is None:
        return ""
    return kept if steps.reset_to == "h0" else "zero"


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
