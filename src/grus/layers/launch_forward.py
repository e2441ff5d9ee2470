"""Forward calls straight from torch's tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from grus.kernels.prepared import Prepared
from grus.kernels.rows import begins, dense_flags
from grus.kernels.steps import Steps
from grus.layers.binding import Binding
from grus.layers.launch import Launch, by_rows, cleared, kept, turned, unusual


@dataclass(frozen=True, slots=True)
class Forward:
    """A prepared forward call: its buffers are x, output, saved, then h0 and hn of each state."""

    run: Prepared
    output: tuple[int, ...]
    states: tuple[tuple[int, ...], ...]
    saved: int


class Forwards(Launch):
    """The forward calls of one binding in one dtype."""

    def forward(
        self, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """(output, final states, what `backward` reads or None)."""
        key: list[Any] = [keep, steps.reverse, steps.first, cleared(steps, "copy")]
        for tensor in tensors:
            key += (tensor.shape, tensor.stride(), unusual(tensor))
        for tensor in tensors[self.count :]:
            key.append(tensor.data_ptr())
        call = self.calls.get(tuple(key))
        if call is None:
            rows = tuple(map(by_rows, tensors))
            if any(one is not other for one, other in zip(rows, tensors, strict=True)):
                return self.forward(rows, steps, keep=keep)
            call = self.prepare(tensors, steps, keep=keep)
            self.remember(tuple(key), call)
        x, count = tensors[0], self.count
        output = x.new_empty(call.output)
        final = tuple([x.new_empty(shape) for shape in call.states])
        saved = kept(call.saved, x) if keep else None
        where = [x.data_ptr(), output.data_ptr(), 0 if saved is None else saved.data_ptr()]
        start = tensors[1:count]
        if steps.resets is None:
            where += [t.data_ptr() for t in (*start, *final)]
            call.run(where, steps.seed or 0)
            return output, final, saved
        begun = first(steps, start)
        flags = dense_flags(steps.resets, backwards=steps.reverse, ahead=1)
        base = start if steps.reset_to == "h0" else ()
        where += [t.data_ptr() for t in (*begun, *final, *base)]
        call.run((*where, flags.ctypes.data), steps.seed or 0)
        return output, final, saved

    def prepare(self, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool) -> Forward:
        """The call for tensors of these shapes, strides and, of parameters, addresses."""
        reverse = steps.reverse
        clear = cleared(steps, "copy")
        launcher = self.launcher("training" if keep else "inference", clear)
        x, start = tensors[0], tensors[1 : self.count]
        sizes = self.sizes(tensors)
        time, batch = x.shape[:2]
        output = (time, batch, sizes[str(self.cell.shapes.values[self.cell.output])])
        strides = (batch * output[2] * self.item, output[2] * self.item)
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
