"""How a cell's weights are stacked in tensors, and what forward and backward calls of them have in
common.

All that follows from shapes, strides and where the weights lie is worked out once and kept; a call
allocates its results and hands over addresses. Numbers are never kept: weights are packed anew in
each call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, cast

from grus.equations import Cell, columns, input_size
from grus.errors import InputError
from grus.kernels import (
    ONE,
    Clear,
    DType,
    Kernel,
    Launcher,
    Sizes,
    Source,
    Steps,
    Variant,
    item_bytes,
    kernel,
    layout,
)
from grus.runtime.buffer import Library, Tensor
from grus.runtime.prepared import Known, Part

Gate = tuple[str, str]
"""A family and a gate of it."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Names of tensors, and what is stacked in each, in order. A vector may come in two parts,
    which are added."""

    cell: Cell
    names: tuple[str, ...]
    parts: tuple[tuple[Gate, ...], ...]

    def sources(self, weights: Sequence[Any]) -> tuple[Source, ...]:
        """Of each weight of a plan its tensor and gate, twice; -1 is no tensor."""
        places: dict[Gate, list[int]] = {}
        for tensor, parts in enumerate(self.parts):
            for gate, part in enumerate(parts):
                places.setdefault(part, []).extend((tensor, gate))
        sources = [(*places.get((w.family, w.gate), ()), -1, -1, -1, -1) for w in weights]
        return tuple((a, b, c, d) for a, b, c, d, *_ in sources)

    def tensor(self, family: str) -> int:
        """The tensor that holds a family, as far as it is in one."""
        return next(k for k, parts in enumerate(self.parts) if parts[0][0] == family)

    @cached_property
    def axes(self) -> dict[str, tuple[int, int, int, int]]:
        """Axis -> the tensor and the dimension that tell its size, how many parts are in it, and
        how many such parts the axis is long: the blocks of a matrix stand below each other."""
        axes: dict[str, tuple[int, int, int, int]] = {}
        for k, parts in enumerate(self.parts):
            first, *rest = self.cell.family_axes(parts[0][0])
            axes.setdefault(first, (k, 0, len(parts), 1))
            for axis in rest:
                axes.setdefault(axis, (k, 1, 1, self.cell.operand_size(parts[0][0], 1)))
        axes.pop("input", None)
        return axes

    def sizes(self, x: Any, states: Sequence[Any], tensors: Sequence[Any]) -> dict[str, int]:
        """The size of each axis, and of a single number; of one that no weight has, the states'."""
        sizes = {ONE: 1}
        for axis, (tensor, dim, parts, times) in self.axes.items():
            sizes[axis] = tensors[tensor].shape[dim] // parts * times
        for axis, state in zip(self.cell.shapes.states.values(), states, strict=False):
            sizes.setdefault(axis, state.shape[-1])
        sizes["input"] = input_size(self.cell, x.shape[2], sizes)
        return sizes

    def check(self, tensors: Sequence[Any], sizes: Mapping[str, int]) -> None:
        """Raises InputError for a tensor of another shape than the cell needs."""
        for name, parts, tensor in zip(self.names, self.parts, tensors, strict=True):
            first, *rest = self.cell.weight_shape(parts[0][0], sizes)
            wanted = (len(parts) * first, *rest)
            if tuple(tensor.shape) != wanted:
                raise InputError(
                    f"parameter {name} must be of shape {wanted}, got {tuple(tensor.shape)}"
                )


@lru_cache(maxsize=256)
def by_family(cell: Cell) -> Weights:
    """A tensor for each family, its gates in order."""
    parts = tuple(tuple((f, gate) for gate in gates) for f, gates in cell.families.items())
    return Weights(cell, tuple(cell.families), parts)


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

    def further_parts(
        self, buffer: int, x: Tensor, sizes: Mapping[str, int], backwards: bool, ragged: bool
    ) -> dict[str, Part]:
        """Where the further inputs lie, behind x in the same rows."""
        whole, places = self.part(buffer, x, backwards, ragged), columns(self.cell, sizes)
        return {
            f"in.{name}": whole._replace(offset=whole.offset + first * self.item)
            for name, (first, _) in places.items()
            if first
        }

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
        (time, batch), parts, first = lead, {}, 0
        for name, size in names.items():
            row = size * self.item
            if ragged:
                parts[name] = Part(buffer, 0, -row if backwards else row, row, True, first)
            else:
                start, strides = first * time * batch, (batch * row, row)
                parts[name] = turned(buffer, start, strides, time, backwards)
            first += row
        return parts

    def program_sizes(
        self, launcher: Launcher, lead: Sequence[int], sizes: Mapping[str, int]
    ) -> Sizes:
        """The sizes of a call for ``lead`` (time, batch) by the program's own axes."""
        return launcher.kernel.sizes(Sizes.of(lead, sizes))

    def weight_places(self, weights: Sequence[Tensor]) -> tuple[int, ...]:
        """Address, bytes of a row, bytes of a gate of each tensor of weights."""
        places: list[int] = []
        addresses = self.library.addresses(weights)
        for tensor, parts, address in zip(weights, self.weights.parts, addresses, strict=True):
            row = tensor.stride(0) * self.item
            places += (address, row, tensor.shape[0] // len(parts) * row)
        return tuple(places)


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
