"""Forward calls straight from torch's tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from grus.errors import InputError
from grus.kernels.prepared import Prepared
from grus.kernels.rows import begins, dense_flags
from grus.kernels.steps import Steps
from grus.layers import addresses
from grus.layers.binding import Binding
from grus.layers.launch import Launch, by_rows, cleared, kept, turned, unusual


@dataclass(frozen=True, slots=True)
class Forward:
    """A prepared forward call: its buffers are x, output, saved, then h0 and hn of each state."""

    run: Prepared
    output: tuple[int, ...]
    states: tuple[tuple[int, ...], ...]
    saved: int


@dataclass(frozen=True, slots=True)
class Laid:
    """A forward call whose results have their places: (output, final states, what `backward`
    reads or None)."""

    run: Prepared
    buffers: list[int]
    output: Tensor
    final: tuple[Tensor, ...]
    saved: Tensor | None
    read: tuple[Tensor, ...]
    """The tensors of the call, which must live until it is over."""


class Forwards(Launch):
    """The forward calls of one binding in one dtype."""

    def forward(
        self, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """(output, final states, what `backward` reads or None)."""
        laid = self.lay(tensors, steps, keep=keep)
        if steps.resets is None:
            laid.run(laid.buffers, steps.seed or 0)
            return laid.output, laid.final, laid.saved
        start = laid.read[1 : self.count]
        begun = first(steps, start)
        flags = dense_flags(steps.resets, backwards=steps.reverse, ahead=1)
        base = start if steps.reset_to == "h0" else ()
        where = laid.buffers[:3] + [t.data_ptr() for t in (*begun, *laid.final, *base)]
        laid.run((*where, flags.ctypes.data), steps.seed or 0)
        return laid.output, laid.final, laid.saved

    def lay(
        self, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool, into: Tensor | None = None
    ) -> Laid:
        """The call, its results made; ``into`` [time, batch, axis] is where the output goes."""
        key: list[Any] = [keep, steps.reverse, steps.first, cleared(steps, "copy")]
        key.append(None if into is None else into.stride())
        try:
            for tensor in tensors[self.count :]:
                key.append(tensor.data_ptr())
        except RuntimeError:  # a fake or functional one
            addresses.check(self.bound.called, tensors)
            raise
        short = tuple(key)
        call = self.found.get(short, tensors)
        if call is None:
            addresses.check(self.bound.called, tensors)
            for tensor in tensors:
                key += (tensor.shape, tensor.stride(), unusual(tensor))
            call = self.calls.get(tuple(key))
            if call is None:
                rows = tuple(map(by_rows, tensors))
                if any(one is not other for one, other in zip(rows, tensors, strict=True)):
                    return self.lay(rows, steps, keep=keep, into=into)
                call = self.prepare(tensors, steps, keep=keep, into=into)
                self.remember(tuple(key), call)
            self.found.keep(short, tensors, call)
        x = tensors[0]
        output = x.new_empty(*call.output) if into is None else into
        final = tuple([x.new_empty(*shape) for shape in call.states])
        saved = kept(call.saved, x) if keep else None
        where = addresses.of(tensors[: self.count])
        where[1:1] = output.data_ptr(), 0 if saved is None else saved.data_ptr()
        for state in final:
            where.append(state.data_ptr())
        return Laid(call.run, where, output, final, saved, tensors)

    def prepare(
        self, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool, into: Tensor | None = None
    ) -> Forward:
        """The call for tensors of these shapes, strides and, of parameters, addresses."""
        reverse = steps.reverse
        clear = cleared(steps, "copy")
        launcher = self.launcher("training" if keep else "inference", clear)
        x, start = tensors[0], tensors[1 : self.count]
        sizes = self.sizes(tensors)
        self.check(tensors, sizes)
        time, batch = x.shape[:2]
        output = (time, batch, sizes[str(self.cell.shapes.values[self.cell.output])])
        if into is not None and into.shape != output:
            raise InputError(f"the output is {output}, the place for it {tuple(into.shape)}")
        row = output[2] if into is None else into.stride(1)
        strides = (batch * row * self.item, row * self.item)
        parts = {"x": self.part(0, x, reverse), "in.x": self.part(0, x, reverse)}
        parts[f"out.{self.cell.output}"] = turned(1, 0, strides, time, reverse)
        saved = {f"out.{n}": sizes[self.layout.axes[n]] for n in self.layout.saved if keep}
        parts |= self.blocks(2, saved, (time, batch), reverse)
        shapes = tuple(tuple(s.shape) for s in start)
        rows = [(3 + k, s.stride(0) * self.item) for k, s in enumerate(start)]
        if clear:  # the states of the first step are made for it
            rows = [(3 + k, s[1] * self.item) for k, s in enumerate(shapes)]
        rows += [(3 + len(start) + k, s[1] * self.item) for k, s in enumerate(shapes)]
        if clear == "copy":
            at = 3 + 2 * len(start)
            rows += [(at + k, s.stride(0) * self.item) for k, s in enumerate(start)]
        run = self.prepared(launcher, sizes, tensors, parts, rows, steps.first, reverse)
        return Forward(run, output, shapes, time * batch * sum(saved.values()))


@lru_cache(maxsize=512)
def forwards(bound: Binding, dtype: torch.dtype) -> Forwards:
    """The forward calls of a binding in a dtype, made once."""
    return Forwards(bound, dtype)


def first(steps: Steps, start: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The states at the first step, one row after the other: zero where it is a reset to zero."""
    rows = tuple(s.contiguous() for s in start)
    if steps.resets is None or steps.reset_to == "h0" or not len(steps.resets):
        return rows
    cleared = begins(steps.resets, backwards=steps.reverse)
    if not cleared.any():
        return rows
    return tuple(s.masked_fill(torch.from_numpy(cleared)[:, None], 0.0) for s in rows)
