"""Backward calls straight from torch's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from grus.errors import InputError
from grus.kernels.memory import Array, give, take
from grus.kernels.prepared import Prepared
from grus.kernels.products import Recipe, recipe
from grus.kernels.rows import dense_flags
from grus.kernels.steps import Steps
from grus.layers import addresses
from grus.layers.binding import Binding
from grus.layers.finish import Finish
from grus.layers.launch import Launch, by_rows, cleared, turned, unusual
from grus.layers.way import Way

Gradients = list[Tensor | None]
"""One for each of the tensors of a call."""


@dataclass(frozen=True, slots=True)
class Backward:
    """A prepared backward call: its buffers are x, output, saved, dy, adjoints, then the adjoints
    of the states, final and initial."""

    run: Prepared
    adjoints: int
    """Bytes of the adjoints."""
    states: tuple[tuple[int, ...], ...]
    spread: bool
    """Whether dy is one number everywhere, as the gradient of a sum is."""


class Uneven:
    """In place of a call whose tensors must be copied first."""


UNEVEN = Uneven()


@dataclass(frozen=True, slots=True)
class Laid:
    """A backward call whose results have their places; ``end`` are the states' gradients."""

    run: Prepared
    buffers: list[int]
    results: list[int]
    gradients: Gradients
    end: list[Tensor]
    adjoints: Array
    alive: tuple[Tensor | None, ...]
    """What the call reads and writes, which must live until it is over."""


class Backwards(Launch):
    """The backward calls of one binding in one dtype."""

    def __init__(self, bound: Binding, dtype: torch.dtype) -> None:
        super().__init__(bound, dtype)
        back = self.layout.derived.cell.states
        self.places = [back.index(f"d{s}") for s in self.cell.states]
        self.order = [self.places.index(k) for k in range(len(self.places))]

    def backward(self, way: Way) -> Gradients:
        """The gradient of each of the tensors that needs one."""
        laid, steps = self.lay(way), way.steps
        if steps.resets is None:
            laid.run(laid.buffers, steps.seed or 0, laid.results)
        else:
            self._reset(laid, steps)
        give(laid.adjoints)
        return laid.gradients

    def lay(self, way: Way, *, copied: bool = False) -> Laid:
        """The call, its results made; ``copied`` where tensors were laid out anew for it."""
        count, steps, needs, tensors = self.count, way.steps, way.needs, way.tensors
        x, parameters, training = tensors[0], tensors[count:], any(needs[count:])
        output, (dy, *dfinal), saved = way.output, way.given, by_rows(way.saved)
        if saved.dtype is not x.dtype:
            raise InputError(f"what forward kept came back as {saved.dtype}, it was {x.dtype}")
        key: list[Any] = [copied, steps.reverse, steps.first, cleared(steps, "collect")]
        key += (needs[0], training)
        try:
            for tensor in parameters:
                key.append(tensor.data_ptr())
        except RuntimeError:  # a fake or functional one
            way.check()
            raise
        read = (output,) if self.bound.reads_output else ()
        short, every = tuple(key), (x, *read, *way.given, *parameters)
        call: Backward | Uneven | None = self.found.get(short, every)
        if call is None:
            way.check()
            for tensor in every:
                key += (tensor.stride(), tensor.shape, unusual(tensor))
            call = self.calls.get(tuple(key))
            if call is None:
                even = _even(way)
                spread = not any(dy.stride()) and dy.numel() > 1 and not unusual(dy)
                if spread:
                    even = even._replace(given=(dy, *even.given[1:]))
                call = self._prepare(way, spread) if _same(even, way) else UNEVEN
                self.remember(tuple(key), call)
            self.found.keep(short, every, call)
        if isinstance(call, Uneven):
            return self.lay(_even(way), copied=True)
        if call.spread:
            dy = dy.as_strided(dy.shape[2:], (0,)).contiguous()
        adjoints, flat = take(call.adjoints)
        end = [x.new_empty(shape) for shape in call.states]
        where = addresses.of((x, output, saved, dy, *[dfinal[k] for k in self.order]))
        where.insert(4, flat)
        for k in self.order:
            where.append(end[k].data_ptr())
        dx = x.new_empty(x.shape) if needs[0] else None
        found = [x.new_empty(p.shape) for p in parameters] if training else [None] * len(parameters)
        results = [0 if t is None else t.data_ptr() for t in (dx, *found)]
        each = (dx, *end, *found)
        gradients = [g if need else None for g, need in zip(each, needs, strict=True)]
        alive = (x, output, saved, dy, *dfinal, *parameters, *each)
        return Laid(call.run, where, results, gradients, end, adjoints, alive)

    def _reset(self, laid: Laid, steps: Steps) -> None:
        """Run with resets, and add to the states' gradients what those to h0 give."""
        assert steps.resets is not None
        collects = cleared(steps, "collect") == "collect"
        base = [torch.zeros_like(one) for one in laid.end] if collects else []
        where = laid.buffers + [base[k].data_ptr() for k in self.order if base]
        flags = dense_flags(steps.resets, backwards=not steps.reverse, ahead=0)
        laid.run((*where, flags.ctypes.data), steps.seed or 0, laid.results)
        for one, part in zip(laid.end if base else (), base, strict=True):
            one.add_(part)

    def _prepare(self, way: Way, spread: bool) -> Backward:
        output, (dy, *begin), steps, needs = way.output, way.given, way.steps, way.needs
        x, *parameters = way.tensors[0], *way.tensors[self.count :]
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
        buffers = 5 + states * (3 if clear == "collect" else 2) + bool(clear)
        finish = Finish(
            self.bound,
            self.dtype,
            how,
            time * batch,
            columns,
            4,
            buffers,
            self._operands(how, sizes, x, output),
            tuple((p.data_ptr(), p.stride(0) * self.item) for p in parameters),
            sizes,
            (needs[0], any(needs[self.count :])),
        )
        run = self.prepared(launcher, sizes, given, parts, rows, steps.first, going, finish)
        return Backward(run, time * batch * columns * self.item, shapes, spread)

    def _operands(
        self, how: Recipe, sizes: Mapping[str, int], x: Tensor, output: Tensor
    ) -> dict[str, tuple[int, int, int]]:
        """What products read: buffer, bytes from its beginning, bytes of a row."""
        found = {"x": (0, 0, distance(x)), self.cell.output: (1, 0, distance(output))}
        first = 0
        for name in self.layout.saved:
            size = sizes[self.layout.axes[name]]
            found[name] = (2, first, size)
            first += x.shape[0] * x.shape[1] * size
        return {name: (k, at * self.item, row * self.item) for name, (k, at, row) in found.items()}


def _even(way: Way) -> Way:
    """The same, every tensor laid out as kernels and products read it: itself where all are."""
    x, *own = way.tensors
    was = (x, way.output, *way.given, *own)
    output = evenly(way.output) if way.bound.reads_output else way.output
    rows = (evenly(x), output, *map(by_rows, was[2:]))
    count = 2 + len(way.given)
    return way._replace(output=output, given=rows[2:count], tensors=(rows[0], *rows[count:]))


def _same(one: Way, other: Way) -> bool:
    """Whether both have the same tensors."""
    pairs = zip(
        (one.output, *one.given, *one.tensors),
        (other.output, *other.given, *other.tensors),
        strict=True,
    )
    return all(a is b for a, b in pairs)


def evenly(tensor: Tensor) -> Tensor:
    """[time, batch, axis] whose rows, taken as [time * batch, axis], lie at one distance: the
    tensor itself where they do so."""
    rows = by_rows(tensor)
    time, row, _ = rows.stride()
    steps, batch, _ = rows.shape
    if batch == 1 or steps == 1 or time == batch * row:
        return rows
    return rows.contiguous()


def distance(tensor: Tensor) -> int:
    """Numbers from row to row of a tensor that is `evenly` laid out."""
    time, row, _ = tensor.stride()
    return time if tensor.shape[1] == 1 else row


@lru_cache(maxsize=512)
def backwards(bound: Binding, dtype: torch.dtype) -> Backwards:
    """The backward calls of a binding in a dtype, made once."""
    return Backwards(bound, dtype)
