"""What forward and backward calls of one set of weights in one dtype have in common.

All that follows from shapes, strides and where the weights lie is worked out once and kept; a call
allocates its results and hands over addresses. Numbers are never kept: weights are packed anew in
each call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

from grus.kernels.argument_block import Clear, Variant
from grus.kernels.call import Kernel, Launcher, kernel
from grus.kernels.layout import layout
from grus.kernels.machine import DType, item_bytes
from grus.kernels.plan import ONE
from grus.kernels.steps import Steps
from grus.runtime.buffer import Library, Tensor
from grus.runtime.prepared import Finish, Known, Part, Prepared
from grus.runtime.weights import Weights

UNEVEN = object()
"""In place of a call whose tensors must be copied first."""


class Calls:
    """The calls of some weights, in one direction of time or the other."""

    def __init__(self, weights: Weights, dtype: str, library: Library) -> None:
        self.weights, self.cell, self.library = weights, weights.cell, library
        self.dtype = cast("DType", dtype)
        self.item = item_bytes(self.dtype)
        self.layout = layout(self.cell)
        self.count = 1 + len(self.cell.states)
        self.called = ("input", *(f"hx of state {s}" for s in self.cell.states), *weights.names)
        self.known: Known[Any] = Known(library)
        self.launchers: dict[tuple[tuple[str, ...], Variant], Launcher] = {}

    def get(
        self,
        key: list[Any],
        tensors: tuple[Tensor, ...],
        read: Sequence[Tensor],
        *asked: Any,
    ) -> Any:
        """The prepared call of (x, *initial states, *weights): that for tensors like ``read``, else
        what `make` makes of ``asked``, which `check` lets through. ``key`` is what it depends on
        beside tensors."""
        try:
            short = (*key, *self.library.addresses(tensors[self.count :]))
        except RuntimeError:  # a fake or functional one
            self.check(*asked)
            raise
        call = self.known.get(short, read)
        if call is None:
            self.check(*asked)
            call = self.known.get_or_make(short, read, partial(self.make, *asked))
        return call

    def check(self, *asked: Any) -> None:
        """Raises for a tensor that no kernel may read."""
        raise NotImplementedError

    def make(self, *asked: Any) -> Any:
        """A prepared call, or `UNEVEN`."""
        raise NotImplementedError

    def launcher(self, stores: tuple[str, ...], variant: Variant) -> Launcher:
        """The program that stores these values of each step, compiled when first asked for."""
        key = stores, variant
        if key not in self.launchers:
            program = self.kernel(stores, variant)
            sources = self.weights.sources(program.plan.cell.weights)
            self.launchers[key] = Launcher(program, sources)
        return self.launchers[key]

    def kernel(self, stores: tuple[str, ...], variant: Variant) -> Kernel:
        """The program of a step of the cell."""
        return kernel(self.cell, self.dtype, stores, variant=variant)

    def sizes(self, tensors: tuple[Tensor, ...]) -> dict[str, int]:
        """The size of each axis, from (x, *initial states, *weights)."""
        return self.weights.sizes(tensors[0], tensors[1 : self.count], tensors[self.count :])

    def output_size(self, tensors: tuple[Tensor, ...]) -> int:
        """The length of the output's axis."""
        return self.sizes(tensors)[self.cell.shapes.values[self.cell.output] or ONE]

    def part(self, buffer: int, tensor: Tensor, backwards: bool, ragged: bool = False) -> Part:
        """Where a tensor of [time, batch, axis] lies, its last step first if ``backwards``."""
        time, row, _ = tensor.stride()
        strides = time * self.item, row * self.item
        return turned(buffer, 0, strides, len(tensor), backwards, ragged=ragged)

    def blocks(
        self,
        buffer: int,
        names: Mapping[str, int],
        lead: tuple[int, int],
        backwards: bool,
        ragged: bool,
    ) -> dict[str, Part]:
        """Where arrays of [time, batch, size], or [valid steps, size], follow each other in a
        buffer."""
        (time, batch), found, first = lead, {}, 0
        for name, size in names.items():
            row = size * self.item
            if ragged:
                found[name] = Part(buffer, 0, -row if backwards else row, row, True, first)
            else:
                start, strides = first * time * batch, (batch * row, row)
                found[name] = turned(buffer, start, strides, time, backwards)
            first += row
        return found

    def prepared(
        self,
        launcher: Launcher,
        sizes: Mapping[str, int],
        lead: tuple[int, int],
        weights: Sequence[Tensor],
        parts: dict[str, Part],
        states: Sequence[tuple[int, int]],
        *,
        first: int,
        row: int,
        backwards: bool,
        finish: Finish | None = None,
    ) -> Prepared:
        """The call for ``lead`` (time, batch)."""
        axes = (*lead, sizes["input"], sizes["hidden"], sizes.get("projection", 0))
        places: list[int] = []
        addresses = self.library.addresses(weights) if weights else []
        for tensor, held, address in zip(weights, self.weights.parts, addresses, strict=True):
            size = tensor.stride(0) * self.item
            places += (address, size, tensor.shape[0] // len(held) * size)
        return Prepared(
            launcher,
            launcher.kernel.sizes(axes),
            tuple(places),
            parts,
            states,
            first=first,
            row=row,
            backwards=backwards,
            finish=finish,
        )


def turned(
    buffer: int,
    first: int,
    strides: tuple[int, int],
    steps: int,
    backwards: bool,
    *,
    ragged: bool = False,
) -> Part:
    """Where an array lies whose steps are taken in either order; tables know where rows end."""
    time, row = strides
    if not backwards:
        return Part(buffer, first, time, row)
    if ragged or not steps:
        return Part(buffer, first, -time, row)
    return Part(buffer, first + (steps - 1) * time, -time, row)


def cleared(steps: Steps, kept: Literal["copy", "collect"]) -> Clear:
    """What a program does at a reset; ``kept`` where the state goes back to h0."""
    if steps.resets is None:
        return ""
    return kept if steps.reset_to == "h0" else "zero"
