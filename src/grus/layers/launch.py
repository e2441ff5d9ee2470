"""A layer's call on the kernels straight from torch's tensors: every row of one length, no resets.

What most calls are, and as little as they can cost: addresses go to the kernel, nothing is copied
but what is not laid out in rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from grus import kernels
from grus.kernels.call import Kernel, Launcher, Place, kernel
from grus.kernels.machine import DType
from grus.kernels.products import Matmul, Products, recipe, vectors

if TYPE_CHECKING:
    from grus.layers.binding import Binding

Sizes = tuple[int, int, int, int, int]


class Launch:
    """The calls of one binding in one dtype."""

    def __init__(self, bound: Binding, dtype: torch.dtype) -> None:
        self.bound, self.cell = bound, bound.cell
        self.item = dtype.itemsize
        self.dtype = cast("DType", str(dtype).removeprefix("torch."))
        self.layout = kernels.layout(self.cell)
        self.gates = tuple(bound.record.gates(name) for name in bound.names)
        self.axes = bound.axes
        self.out = f"out.{self.cell.output}"
        self.output_axis = str(self.cell.shapes.values[self.cell.output])
        back = self.layout.derived.cell
        self.places = [back.states.index(f"d{s}") for s in self.cell.states]

    @cached_property
    def inference(self) -> Launcher:
        """Forward, keeping nothing."""
        return self._launcher(kernel(self.cell, self.dtype, (self.cell.output,)))

    @cached_property
    def training(self) -> Launcher:
        """Forward, keeping what backward reads."""
        stores = (self.cell.output, *self.layout.saved)
        return self._launcher(kernel(self.cell, self.dtype, stores))

    @cached_property
    def backward_launcher(self) -> Launcher:
        """Backward."""
        plan = self.layout
        return self._launcher(
            kernel(plan.derived.cell, self.dtype, plan.adjoints, plan.sums, self.cell)
        )

    def _launcher(self, program: Kernel) -> Launcher:
        places = self.bound.record.places(self.bound.names)
        weights = program.plan.cell.weights
        return Launcher(program, tuple(places[w.family, w.gate] for w in weights))

    def sizes(self, x: Tensor, tensors: tuple[Tensor, ...]) -> dict[str, int]:
        """The size of each axis."""
        found = {"input": x.shape[2], "one": 1}
        for axis, (tensor, dim, parts) in self.axes.items():
            found[axis] = tensors[tensor].shape[dim] // parts
        return found

    def weights(self, tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
        """Address, bytes of a row, bytes of a gate of each parameter."""
        found: list[int] = []
        for tensor, gates in zip(tensors, self.gates, strict=True):
            row = tensor.stride(0) * self.item
            found += (tensor.data_ptr(), row, tensor.shape[0] // gates * row)
        return tuple(found)

    def place(self, tensor: Tensor, backwards: bool) -> Place:
        """Where a tensor of [time, batch, axis] lies, its last step first if ``backwards``."""
        time, row, _ = tensor.stride()
        time, row, first = time * self.item, row * self.item, tensor.data_ptr()
        if backwards and len(tensor):
            return first + (len(tensor) - 1) * time, -time, row
        return first, time, row

    def blocks(
        self, base: int, names: dict[str, int], lead: tuple[int, int], backwards: bool
    ) -> dict[str, Place]:
        """Where arrays of [time, batch, size] lie that follow each other from ``base`` on."""
        time, batch = lead
        found = {}
        for name, size in names.items():
            row = size * self.item
            step = batch * row
            found[name] = (base + (time - 1) * step, -step, row) if backwards else (base, step, row)
            base += time * step
        return found

    def forward(
        self, tensors: tuple[Tensor, ...], *, reverse: bool, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """(output, final states, what `backward` reads or None)."""
        launcher = self.training if keep else self.inference
        count = 1 + self.bound.states
        tensors = tuple(map(by_rows, tensors))
        x, start, parameters = tensors[0], tensors[1:count], tensors[count:]
        sizes = self.sizes(x, parameters)
        time, batch, inputs = x.shape
        output = x.new_empty((time, batch, sizes[self.output_axis]))
        final = tuple(s.new_empty(s.shape) for s in start)
        where = self.place(x, reverse)
        arrays = {"x": where, "in.x": where, self.out: self.place(output, reverse)}
        saved = None
        if keep:
            axes = self.layout.axes
            names = {f"out.{n}": sizes[axes[n]] for n in self.layout.saved}
            saved = x.new_empty(time * batch * sum(names.values()))
            arrays |= self.blocks(saved.data_ptr(), names, (time, batch), reverse)
        self._run(launcher, (time, batch, inputs), sizes, parameters, arrays, (*start, *final))
        return output, final, saved

    def _run(
        self,
        launcher: Launcher,
        shape: tuple[int, int, int],
        sizes: dict[str, int],
        parameters: tuple[Tensor, ...],
        arrays: dict[str, Place],
        states: tuple[Tensor, ...],
    ) -> Any:
        program = launcher.kernel
        all_sizes = program.sizes((*shape, sizes["hidden"], sizes.get("projection", 0)))
        numbers = [n for s in states for n in (s.data_ptr(), s.stride(0) * self.item)]
        with program.split(all_sizes) as split:
            return launcher(all_sizes, split, self.weights(parameters), arrays, numbers)

    def backward(
        self,
        needs: tuple[bool, ...],
        output: Tensor,
        saved: Tensor,
        dy: Tensor,
        dfinal: tuple[Tensor, ...],
        tensors: tuple[Tensor, ...],
        *,
        reverse: bool,
        matmul: Matmul,
    ) -> tuple[Tensor | None, list[Tensor], dict[str, Any], dict[str, Any]]:
        """(dL/dx if needed, dL/d(initial states), dL/d(matrices by family), the same of vectors
        as arrays: both empty unless a parameter needs its gradient)."""
        plan, launcher = self.layout, self.backward_launcher
        count = 1 + self.bound.states
        tensors = tuple(map(by_rows, tensors))
        x, parameters = tensors[0], tensors[count:]
        sizes = self.sizes(x, parameters)
        time, batch, inputs = x.shape
        lead, going = (time, batch), not reverse
        dy, output = by_rows(dy), by_rows(output)
        names = {f"in.{n}": sizes[plan.axes[n]] for n in plan.saved}
        arrays = self.blocks(saved.data_ptr(), names, lead, going)
        arrays |= {"in.dy": self.place(dy, going), "in.x": self.place(x, going)}
        arrays[f"in.{self.cell.output}"] = self.place(output, going)
        columns = plan.columns(sizes)
        flat = x.new_empty((time * batch, columns))
        step, row = batch * columns * self.item, columns * self.item
        first = flat.data_ptr() + ((time - 1) * step if going else 0)
        for name in plan.adjoints:
            at, _ = plan.place(name, sizes)
            arrays[f"out.{name}"] = (first + at * self.item, -step if going else step, row)
        begin = [by_rows(d) for d in dfinal]
        end = [x.new_empty(d.shape) for d in begin]
        order = [self.places.index(k) for k in range(len(self.places))]
        states = (*(begin[k] for k in order), *(end[k] for k in order))
        sums = self._run(launcher, (time, batch, inputs), sizes, parameters, arrays, states)
        how = recipe(self.cell, tuple(sizes.items()))
        products = Products(how, cast(Any, flat), matmul, x.new_empty)
        found: dict[str, Any] = {}
        if any(needs[count:]):
            found = products.matrices(self._kept(x, output, saved, sizes))
        dx = None
        if needs[0]:
            by_family = self.bound.matrices(parameters)
            dx = cast(Tensor, products.x(by_family, inputs)).view(time, batch, inputs)
        return dx, end, found, vectors(how, sums) if found else {}

    def _kept(
        self, x: Tensor, output: Tensor, saved: Tensor, sizes: dict[str, int]
    ) -> dict[str, Any]:
        """What products read, [steps and rows, axis]."""
        rows = x.shape[0] * x.shape[1]
        found, first = {"x": x, self.cell.output: output}, 0
        for name in self.layout.saved:
            size = sizes[self.layout.axes[name]]
            found[name] = saved[first : first + rows * size].view(rows, size)
            first += rows * size
        return found


def by_rows(tensor: Tensor) -> Tensor:
    """The tensor with its last axis contiguous: itself where it is."""
    if tensor.stride(-1) == 1 or tensor.shape[-1] == 1:
        return tensor
    return tensor.contiguous()
