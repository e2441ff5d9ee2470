"""A layer's call on the kernels straight from torch's tensors: every row of one length.

What most calls are, and as little as they can cost. All that follows from shapes, strides and where
the parameters lie is worked out once and kept; a call allocates its results and hands over
addresses. Numbers are never kept: parameters are packed anew in each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from grus import kernels
from grus.kernels.call import Kernel, Launcher, Part, Prepared, kernel
from grus.kernels.machine import DType
from grus.kernels.products import Matmul, Products, Recipe, recipe, vectors
from grus.kernels.rows import begins, dense_flags
from grus.kernels.slots import Clear, Variant
from grus.kernels.steps import Steps
from grus.layers.binding import Binding

Kind = Literal["inference", "training", "backward"]

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
        self.launchers: dict[tuple[Kind, Clear], Launcher] = {}
        self.forwards: dict[Any, Forward] = {}
        self.backwards: dict[Any, Backward] = {}

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

    def forward(
        self, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """(output, final states, what `backward` reads or None)."""
        key: list[Any] = [keep, steps.reverse, steps.first, cleared(steps, "copy")]
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
        start = tensors[1:count]
        if steps.resets is None:
            where += [t.data_ptr() for t in (*start, *final)]
            call.run(*where, seed=steps.seed or 0)
            return output, final, saved
        begun = first(steps, start)
        flags = dense_flags(steps.resets, backwards=steps.reverse, ahead=1)
        base = start if steps.reset_to == "h0" else ()
        where += [t.data_ptr() for t in (*begun, *final, *base)]
        call.run(*where, flags.ctypes.data, seed=steps.seed or 0)
        return output, final, saved

    def _forward(self, tensors: tuple[Tensor, ...], steps: Steps, keep: bool) -> Forward:
        reverse = steps.reverse
        clear = cleared(steps, "copy")
        launcher = self.launcher("training" if keep else "inference", clear)
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
        if clear:  # the states of the first step are made for it
            rows = [(3 + k, s[1] * self.item) for k, s in enumerate(shapes)]
        rows += [(3 + len(start) + k, s[1] * self.item) for k, s in enumerate(shapes)]
        if clear == "copy":
            at = 3 + 2 * len(start)
            rows += [(at + k, s.stride(0) * self.item) for k, s in enumerate(start)]
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
        clear = cleared(steps, "collect")
        key: list[Any] = [
            steps.reverse,
            steps.first,
            clear,
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
        where += [end[k].data_ptr() for k in self.order]
        base = [x.new_zeros(shape) for shape in call.states] if clear == "collect" else []
        where += [base[k].data_ptr() for k in self.order if base]
        if steps.resets is None:
            sums = call.run(*where, seed=steps.seed or 0)
        else:
            flags = dense_flags(steps.resets, backwards=not steps.reverse, ahead=0)
            sums = call.run(*where, flags.ctypes.data, seed=steps.seed or 0)
        if base:
            end = [d + b for d, b in zip(end, base, strict=True)]
        products = Products(call.recipe, cast(Any, flat), matmul, x.new_empty)
        found: dict[str, Any] = {}
        if any(needs[count:]):
            kept: dict[str, Any] = {"x": x, self.cell.output: output}
            rows = call.flat[0]
            for name, at, size in call.operands:
                kept[name] = saved[at : at + rows * size].view(rows, size)
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
        clear = cleared(steps, "collect")
        for group in range(1, 3 if clear == "collect" else 2):
            at = 5 + group * states
            rows += [(at + k, shapes[o][1] * self.item) for k, o in enumerate(self.order)]
        given = (x, *begin, *parameters)
        launcher = self.launcher("backward", clear)
        run = self._prepared(launcher, sizes, given, parts, rows, steps.first, going)
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


@lru_cache(maxsize=512)
def launch(bound: Binding, dtype: torch.dtype) -> Launch:
    """The calls of a binding in a dtype, made once."""
    return Launch(bound, dtype)


def cleared(steps: Steps, kept: Literal["copy", "collect"]) -> Clear:
    """What a program does at a reset; ``kept`` where the state goes back to h0."""
    if steps.resets is None:
        return ""
    return kept if steps.reset_to == "h0" else "zero"


def first(steps: Steps, start: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The states at the first step, one row after the other: zero where it is a reset to zero."""
    rows = tuple(s.contiguous() for s in start)
    if steps.resets is None or steps.reset_to == "h0" or not len(steps.resets):
        return rows
    cleared = begins(steps.resets, backwards=steps.reverse)
    if not cleared.any():
        return rows
    return tuple(s.masked_fill(torch.from_numpy(cleared)[:, None], 0.0) for s in rows)


def by_rows(tensor: Tensor) -> Tensor:
    """The tensor with its last axis contiguous: itself where it is."""
    if tensor.stride(-1) == 1 or tensor.shape[-1] == 1:
        return tensor
    return tensor.contiguous()
