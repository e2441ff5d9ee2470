"""Backward calls straight from torch's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from grus.errors import InputError
from grus.kernels.prepared import Prepared
from grus.kernels.products import Matmul, Products, Recipe, recipe, vectors
from grus.kernels.rows import dense_flags
from grus.kernels.steps import Steps
from grus.layers.binding import Binding
from grus.layers.finish import MOST, Finish
from grus.layers.launch import Launch, by_rows, cleared, turned, unusual

Gradients = list[Tensor | None]
"""One for each of the tensors of a call."""


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
    finish: Finish | None
    """What makes all gradients in the call itself, where rows are few."""


class Backwards(Launch):
    """The backward calls of one binding in one dtype."""

    def __init__(self, bound: Binding, dtype: torch.dtype) -> None:
        super().__init__(bound, dtype)
        back = self.layout.derived.cell.states
        self.places = [back.index(f"d{s}") for s in self.cell.states]
        self.order = [self.places.index(k) for k in range(len(self.places))]

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
    ) -> Gradients:
        """The gradient of each of ``tensors`` that ``needs`` one."""
        count = self.count
        x, parameters, training = tensors[0], tensors[count:], any(needs[count:])
        given, saved = (x, output, dy, *dfinal), by_rows(saved)
        if saved.dtype is not x.dtype:
            raise InputError(f"what forward kept came back as {saved.dtype}, it was {x.dtype}")
        key: list[Any] = [steps.reverse, steps.first, cleared(steps, "collect"), needs[0], training]
        for tensor in given:
            key += (tensor.stride(), tensor.shape, unusual(tensor))
        for tensor in parameters:
            key += (tensor.shape, tensor.stride(), unusual(tensor), tensor.data_ptr())
        call: Backward | None = self.calls.get(tuple(key))
        if call is None:
            rows, own = tuple(map(by_rows, given)), tuple(map(by_rows, tensors[1:]))
            if any(a is not b for a, b in zip((*rows, *own), (*given, *tensors[1:]), strict=True)):
                x, output, dy, *begin = rows
                tensors = (x, *own)
                return self.backward(needs, output, saved, dy, tuple(begin), tensors, steps, matmul)
            call = self._prepare(x, output, dy, dfinal, parameters, steps, needs)
            self.remember(tuple(key), call)
        flat = x.new_empty(call.flat)
        end = [x.new_empty(shape) for shape in call.states]
        where = [t.data_ptr() for t in (x, output, saved, dy, flat)]
        where += [dfinal[k].data_ptr() for k in self.order]
        where += [end[k].data_ptr() for k in self.order]
        if call.finish is not None:
            return self._few(call, where, x, end, parameters, needs, steps)
        sums = self._sums(call, where, x, end, steps)
        products = Products(call.recipe, cast(Any, flat), matmul, x.new_empty)
        dx = None
        if needs[0]:
            weights = self.bound.matrices(parameters)
            dx = cast(Tensor, products.x(weights, x.shape[2])).view(x.shape)
        found = self._weights(call, products, x, output, saved, sums) if training else {}
        each = [dx, *end, *(found.get(name) for name in self.bound.names)]
        return [g if need else None for g, need in zip(each, needs, strict=True)]

    def _few(
        self,
        call: Backward,
        where: list[int],
        x: Tensor,
        end: list[Tensor],
        parameters: tuple[Tensor, ...],
        needs: tuple[bool, ...],
        steps: Steps,
    ) -> Gradients:
        dx = x.new_empty(x.shape) if needs[0] else None
        found = [x.new_empty(p.shape) for p in parameters]
        results = [0 if dx is None else dx.data_ptr(), *[t.data_ptr() for t in found]]
        call.run.run(where, steps.seed or 0, results)
        each = (dx, *end, *found)
        return [g if need else None for g, need in zip(each, needs, strict=True)]

    def _sums(
        self, call: Backward, where: list[int], x: Tensor, end: list[Tensor], steps: Steps
    ) -> Any:
        """Run; gives the sums, and puts into ``end`` what resets to h0 add to it."""
        if steps.resets is None:
            return call.run(*where, seed=steps.seed or 0)
        collects = cleared(steps, "collect") == "collect"
        base = [x.new_zeros(shape) for shape in call.states] if collects else []
        where += [base[k].data_ptr() for k in self.order if base]
        flags = dense_flags(steps.resets, backwards=not steps.reverse, ahead=0)
        sums = call.run(*where, flags.ctypes.data, seed=steps.seed or 0)
        for k, part in enumerate(base):
            end[k] += part
        return sums

    def _weights(
        self,
        call: Backward,
        products: Products,
        x: Tensor,
        output: Tensor,
        saved: Tensor,
        sums: Any,
    ) -> dict[str, Tensor]:
        """The parameters' gradients by name."""
        kept: dict[str, Any] = {"x": x, self.cell.output: output}
        rows = call.flat[0]
        for name, at, size in call.operands:
            kept[name] = saved[at : at + rows * size].view(rows, size)
        families: dict[str, Any] = products.matrices(kept) | vectors(call.recipe, sums)
        names = list(self.bound.names)
        grads = self.bound.record.gradients(families, names, np.concatenate)
        return {n: g if isinstance(g, Tensor) else torch.from_numpy(g) for n, g in grads.items()}

    def _prepare(
        self,
        x: Tensor,
        output: Tensor,
        dy: Tensor,
        begin: tuple[Tensor, ...],
        parameters: tuple[Tensor, ...],
        steps: Steps,
        needs: tuple[bool, ...],
    ) -> Backward:
        plan, going = self.layout, not steps.reverse
        sizes = self.sizes((x, *begin, *parameters))
        time, batch = x.shape[:2]
        columns = plan.columns(sizes)
        parts = {"in.x": self.part(0, x, going), "in.dy": self.part(3, dy, going)}
        parts[f"in.{self.cell.output}"] = self.part(1, output, going)
        saved = {f"in.{n}": sizes[plan.axes[n]] for n in plan.saved}
        parts |= self.blocks(2, saved, (time, batch), going)
        strides = (batch * columns * self.item, columns * self.item)
        for name in plan.adjoints:
            at, _ = plan.place(name, sizes)
            parts[f"out.{name}"] = turned(4, at * self.item, strides, time, going)
        shapes = tuple(tuple(d.shape) for d in begin)
        states = len(begin)
        rows = [(5 + k, begin[o].stride(0) * self.item) for k, o in enumerate(self.order)]
        clear = cleared(steps, "collect")
        for group in range(1, 3 if clear == "collect" else 2):
            at = 5 + group * states
            rows += [(at + k, shapes[o][1] * self.item) for k, o in enumerate(self.order)]
        given = (x, *begin, *parameters)
        launcher = self.launcher("backward", clear)
        how = recipe(self.cell, tuple(sizes.items()))
        operands = self._operands(how, sizes, x)
        finish = None
        if not clear and any(needs[self.count :]):
            finish = self._finish(x, output, parameters, how, sizes, operands, needs[0])
        run = self.prepared(launcher, sizes, given, parts, rows, steps.first, going, finish)
        return Backward(run, (time * batch, columns), shapes, how, operands, finish)

    def _finish(
        self,
        x: Tensor,
        output: Tensor,
        parameters: tuple[Tensor, ...],
        how: Recipe,
        sizes: Mapping[str, int],
        operands: tuple[tuple[str, int, int], ...],
        dx: bool,
    ) -> Finish | None:
        """The terms of a call of few rows; None where a library's products are faster, or where
        rows do not lie at one distance."""
        where = {name: (2, at * self.item, size * self.item) for name, at, size in operands}
        for buffer, name, tensor in ((0, "x", x), (1, self.cell.output, output)):
            stride = distance(tensor)
            if stride is None:
                return None
            where[name] = (buffer, 0, stride * self.item)
        finish = Finish(
            self.bound,
            self.dtype,
            how,
            x.shape[0] * x.shape[1],
            self.layout.columns(sizes),
            4,
            5 + 2 * self.bound.states,
            where,
            tuple((p.data_ptr(), p.stride(0) * self.item) for p in parameters),
            sizes,
            dx,
        )
        return finish if finish.operations <= MOST else None

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


def distance(tensor: Tensor) -> int | None:
    """Numbers from row to row of [time, batch, axis] taken as [time * batch, axis], if it is one
    number."""
    time, row, _ = tensor.stride()
    steps, batch, _ = tensor.shape
    if batch == 1:
        return time
    return row if steps == 1 or time == batch * row else None


@lru_cache(maxsize=512)
def backwards(bound: Binding, dtype: torch.dtype) -> Backwards:
    """The backward calls of a binding in a dtype, made once."""
    return Backwards(bound, dtype)
