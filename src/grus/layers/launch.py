"""A layer's call on the kernels straight from torch's tensors: every row of one length, no resets.

What most calls are, and as little as they can cost. All that follows from shapes, strides and where
the parameters lie is worked out once and kept; a call allocates its results and hands over
addresses. Numbers are never kept: parameters are packed anew in each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from grus import kernels
from grus.kernels.call import Kernel, Launcher, Part, Prepared, kernel
from grus.kernels.machine import DType
from grus.kernels.products import Matmul, Products, Recipe, recipe, vectors
from grus.kernels.steps import Steps

if TYPE_CHECKING:
    from grus.layers.binding import Binding

MOST = 256
"""Prepared calls kept; beyond it all are forgotten and made again."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A prepared forward call: its buffers are x, output, saved, then h0 and hn of each state."""

    run: Prepared
    output: tuple[int, ...]
    states: tuple[tuple[int, ...], ...]
    saved: int


@dataclass(frozen=True, slots=True)
class Backward:
    """A prepared backward call: its buffers are x, output, saved, dy, adjoints, then the adjoints
    of the states, final and initial."""

    run: Prepared
    flat: tuple[int, int]
    states: tuple[tuple[int, ...], ...]
    recipe: Recipe
    operands: tuple[tuple[str, int, int], ...]
    """Saved values that products read: name, first number, size."""


class Launch:
    """The calls of one binding in one dtype."""

    def __init__(self, bound: Binding, dtype: torch.dtype) -> None:
        self.bound, self.cell = bound, bound.cell
        self.item = dtype.itemsize
        self.dtype = cast("DType", str(dtype).removeprefix("torch."))
        self.layout = kernels.layout(self.cell)
        self.gates = tuple(bound.record.gates(name) for name in bound.names)
        self.count = 1 + bound.states
        back = self.layout.derived.cell.states
        self.places = [back.index(f"d{s}") for s in self.cell.states]
        self.order = [self.places.index(k) for k in range(len(self.places))]
        self.forwards: dict[Any, Forward] = {}
        self.backwards: dict[Any, Backward] = {}

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
    def returning(self) -> Launcher:
        """Backward."""
        plan = self.layout
        program = kernel(plan.derived.cell, self.dtype, plan.adjoints, plan.sums, self.cell)
        return self._launcher(program)

    def _launcher(self, program: Kernel) -> Launcher:
        places = self.bound.record.places(self.bound.names)
        weights = program.plan.cell.weights
        return Launcher(program, tuple(places[w.family, w.gate] for w in weights))

    def forward(
        self, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """(output, final states, what `backward` reads or None)."""
        key: list[Any] = [keep, steps.reverse, steps.first]
        for tensor in tensors:
            key += (tensor.shape, tensor.stride())
        for tensor in tensors[self.count :]:
            key.append(tensor.data_ptr())
        call = self.forwards.get(tuple(key))
        if call is None:
            rows = tuple(map(by_rows, tensors))
            if any(one is not other for one, other in zip(rows, tensors, strict=True)):
                return self.forward(rows, steps, keep=keep)
            call = self._forward(tensors, steps, keep)
            _remember(self.forwards, tuple(key), call)
        x, count = tensors[0], self.count
        output = x.new_empty(call.output)
        final = tuple([x.new_empty(shape) for shape in call.states])
        saved = x.new_empty(call.saved) if keep else None
        where = [x.data_ptr(), output.data_ptr(), 0 if saved is None else saved.data_ptr()]
        where += [t.data_ptr() for t in tensors[1:count]]
        call.run(*where, *[t.data_ptr() for t in final], seed=steps.seed or 0)
        return output, final, saved

    def _forward(self, tensors: tuple[Tensor, ...], steps: Steps, keep: bool) -> Forward:
        reverse = steps.reverse
        launcher = self.training if keep else self.inference
        x, start = tensors[0], tensors[1 : self.count]
        sizes = self._sizes(tensors)
        time, batch = x.shape[:2]
        output = (time, batch, sizes[str(self.cell.shapes.values[self.cell.output])])
        strides = (batch * output[2] * self.item, output[2] * self.item)
        parts = {"x": self._part(0, x, reverse), "in.x": self._part(0, x, reverse)}
        parts[f"out.{self.cell.output}"] = _turned(1, 0, strides, time, reverse)
        saved = {f"out.{n}": sizes[self.layout.axes[n]] for n in self.layout.saved if keep}
        parts |= self._blocks(2, saved, (time, batch), reverse)
        shapes = tuple(tuple(s.shape) for s in start)
        rows = [(3 + k, s.stride(0) * self.item) for k, s in enumerate(start)]
        rows += [(3 + len(start) + k, s[1] * self.item) for k, s in enumerate(shapes)]
        run = self._prepared(launcher, sizes, tensors, parts, rows, steps.first, reverse)
        return Forward(run, output, shapes, time * batch * sum(saved.values()))

    def backward(
        self,
        needs: tuple[bool, ...],
        output: Tensor,
        saved: Tensor,
        dy: Tensor,
        dfinal: tuple[Tensor, ...],
        tensors: tuple[Tensor, ...],
        steps: Steps,
        matmul: Matmul,
    ) -> tuple[Tensor | None, list[Tensor], dict[str, Any], dict[str, Any]]:
        """(dL/dx if needed, dL/d(initial states), dL/d(matrices by family), the same of vectors
        as arrays: both empty unless a parameter needs its gradient)."""
        count = self.count
        given = tuple(map(by_rows, (tensors[0], output, dy, *dfinal)))
        x, output, dy, *begin = given
        parameters = tuple(map(by_rows, tensors[count:]))
        key: list[Any] = [
            steps.reverse,
            steps.first,
            *[t.stride() for t in given],
            *[t.shape for t in given],
        ]
        for tensor in parameters:
            key += (tensor.shape, tensor.stride(), tensor.data_ptr())
        call = self.backwards.get(tuple(key))
        if call is None:
            call = self._backward(x, output, dy, tuple(begin), parameters, steps)
            _remember(self.backwards, tuple(key), call)
        flat = x.new_empty(call.flat)
        end = [x.new_empty(shape) for shape in call.states]
        where = [t.data_ptr() for t in (x, output, saved, dy, flat)]
        where += [begin[k].data_ptr() for k in self.order]
        last = [end[k].data_ptr() for k in self.order]
        sums = call.run(*where, *last, seed=steps.seed or 0)
        products = Products(call.recipe, cast(Any, flat), matmul, x.new_empty)
        found: dict[str, Any] = {}
        if any(needs[count:]):
            kept: dict[str, Any] = {"x": x, self.cell.output: output}
            rows = call.flat[0]
            for name, first, size in call.operands:
                kept[name] = saved[first : first + rows * size].view(rows, size)
            found = products.matrices(kept)
        dx = None
        if needs[0]:
            weights = self.bound.matrices(parameters)
            dx = cast(Tensor, products.x(weights, x.shape[2])).view(x.shape)
        return dx, end, found, vectors(call.recipe, sums) if found else {}

    def _backward(
        self,
        x: Tensor,
        output: Tensor,
        dy: Tensor,
        begin: tuple[Tensor, ...],
        parameters: tuple[Tensor, ...],
        steps: Steps,
    ) -> Backward:
        plan, going = self.layout, not steps.reverse
        sizes = self._sizes((x, *begin, *parameters))
        time, batch = x.shape[:2]
        columns = plan.columns(sizes)
        parts = {"in.x": self._part(0, x, going), "in.dy": self._part(3, dy, going)}
        parts[f"in.{self.cell.output}"] = self._part(1, output, going)
        saved = {f"in.{n}": sizes[plan.axes[n]] for n in plan.saved}
        parts |= self._blocks(2, saved, (time, batch), going)
        strides = (batch * columns * self.item, columns * self.item)
        for name in plan.adjoints:
            at, _ = plan.place(name, sizes)
            parts[f"out.{name}"] = _turned(4, at * self.item, strides, time, going)
        shapes = tuple(tuple(d.shape) for d in begin)
        states = len(begin)
        rows = [(5 + k, begin[o].stride(0) * self.item) for k, o in enumerate(self.order)]
        rows += [(5 + states + k, shapes[o][1] * self.item) for k, o in enumerate(self.order)]
        given = (x, *begin, *parameters)
        run = self._prepared(self.returning, sizes, given, parts, rows, steps.first, going)
        how = recipe(self.cell, tuple(sizes.items()))
        return Backward(run, (time * batch, columns), shapes, how, self._operands(how, sizes, x))

    def _operands(
        self, how: Recipe, sizes: Mapping[str, int], x: Tensor
    ) -> tuple[tuple[str, int, int], ...]:
        read = {one.operand for _, _, stretches in how.matrices for one in stretches}
        found, first = [], 0
        for name in self.layout.saved:
            size = sizes[self.layout.axes[name]]
            if name in read:
                found.append((name, first, size))
            first += x.shape[0] * x.shape[1] * size
        return tuple(found)

    def _sizes(self, tensors: tuple[Tensor, ...]) -> dict[str, int]:
        """The size of each axis, and of a single number."""
        parameters, found = tensors[self.count :], {"input": tensors[0].shape[2], "one": 1}
        for axis, (tensor, dim, parts) in self.bound.axes.items():
            found[axis] = parameters[tensor].shape[dim] // parts
        return found

    def _part(self, buffer: int, tensor: Tensor, backwards: bool) -> Part:
        """Where a tensor of [time, batch, axis] lies, its last step first if ``backwards``."""
        time, row, _ = tensor.stride()
        return _turned(buffer, 0, (time * self.item, row * self.item), len(tensor), backwards)

    def _blocks(
        self, buffer: int, names: dict[str, int], lead: tuple[int, int], backwards: bool
    ) -> dict[str, Part]:
        """Where arrays of [time, batch, size] lie that follow each other in a buffer."""
        (time, batch), found, first = lead, {}, 0
        for name, size in names.items():
            row = size * self.item
            found[name] = _turned(buffer, first, (batch * row, row), time, backwards)
            first += time * batch * row
        return found

    def _prepared(
        self,
        launcher: Launcher,
        sizes: dict[str, int],
        tensors: tuple[Tensor, ...],
        parts: dict[str, Part],
        rows: list[tuple[int, int]],
        first: int,
        backwards: bool,
    ) -> Prepared:
        x = tensors[0]
        time, batch = x.shape[:2]
        starts = np.full(batch, first + (time - 1 if backwards else 0))
        sign = -1 if backwards else 1
        axes = (time, batch, x.shape[2], sizes["hidden"], sizes.get("projection", 0))
        places: list[int] = []
        for tensor, gates in zip(tensors[self.count :], self.gates, strict=True):
            row = tensor.stride(0) * self.item
            places += (tensor.data_ptr(), row, tensor.shape[0] // gates * row)
        return launcher.prepare(
            launcher.kernel.sizes(axes), tuple(places), parts, rows, starts, sign
        )


def _turned(buffer: int, first: int, strides: tuple[int, int], steps: int, backwards: bool) -> Part:
    time, row = strides
    return (
        (buffer, first + (steps - 1) * time, -time, row)
        if backwards
        else (buffer, first, time, row)
    )


def _remember(calls: dict[Any, Any], key: tuple[Any, ...], call: object) -> None:
    if len(calls) >= MOST:
        calls.clear()
    calls[key] = call


def by_rows(tensor: Tensor) -> Tensor:
    """The tensor with its last axis contiguous: itself where it is."""
    if tensor.stride(-1) == 1 or tensor.shape[-1] == 1:
        return tensor
    return tensor.contiguous()
