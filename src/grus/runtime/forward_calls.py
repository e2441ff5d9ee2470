"""Forward calls: a sequence of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np

from grus.errors import InputError
from grus.kernels import Array, Steps, Variant
from grus.runtime.buffer import LARGE, LOW, Tensor, array, arrays
from grus.runtime.calls import UNEVEN, Calls, cleared, turned
from grus.runtime.prepared import Prepared, Ragged
from grus.runtime.rows import Packing, first_states, packing


class Forward(NamedTuple):
    """A prepared forward call: its buffers are x, what is saved, what is stored, then h0 and hn of
    each state."""

    run: Prepared
    output: tuple[int, ...]
    states: tuple[tuple[int, ...], ...]
    saved: int
    """Numbers that are saved of a step of a row."""
    rows: int
    """Steps of rows, padding included."""


class Laid(NamedTuple):
    """A forward call whose results have their places: (output, final states, what `backward`
    reads or None)."""

    run: Prepared
    buffers: list[int]
    output: Tensor
    final: tuple[Tensor, ...]
    saved: Tensor | None
    read: tuple[Tensor, ...]
    """The tensors of the call, which must live until it is over."""
    packing: Packing | None


class Forwards(Calls):
    """The forward calls of some weights in one dtype."""

    def forward(
        self,
        tensors: tuple[Tensor, ...],
        steps: Steps,
        *,
        keep: bool,
        base: tuple[Array, ...] | None = None,
        most_threads: int | None = None,
        **places: Any,
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """(output, final states, what `backward` reads or None) of (x, *initial states, *weights).

        Resets to h0 go back to ``base``, which is that of the call by default; ``places`` are those
        of `lay`."""
        laid = self.lay(tensors, steps, keep=keep, **places)
        return self._run(laid, steps, base, most_threads)

    def again(
        self, call: Forward, tensors: tuple[Tensor, ...], steps: Steps, *, keep: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """The same of a call that is known already, for (x, *initial states)."""
        if steps.lengths is not None or steps.resets is not None:
            return self._run(self._place(call, tensors, steps, keep=keep), steps)
        # As `_place`, which would cost as much as a small kernel.
        x = tensors[0]
        output = x.new_empty(*call.output)
        final = tuple(starmap(x.new_empty, call.states))
        saved = None
        if keep:
            count, item = call.saved * call.rows, self.item
            small = count * item < LARGE
            saved = x.new_empty(count) if small else self.library.room(count, x, item)
        read = (x, x if saved is None else saved, output, *tensors[1:], *final)
        where = list(map(self.library.pointer, read))
        if min(where) < LOW:
            self.library.check_memory(read)
        call.run(where)
        return output, final, saved

    def _run(
        self,
        laid: Laid,
        steps: Steps,
        base: tuple[Array, ...] | None = None,
        most_threads: int | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        seed = steps.seed or 0
        if laid.packing is None and steps.resets is None:
            laid.run(laid.buffers, seed, (), most_threads)
            return laid.output, laid.final, laid.saved
        states = arrays((*laid.read[1 : self.count], *laid.final))
        start, final = states[: self.count - 1], states[self.count - 1 :]
        back: tuple[Array, ...] = ()
        if steps.resets is not None:
            if steps.reset_to == "h0":
                back = tuple(map(np.ascontiguousarray, base or start))
            start = first_states(steps, start, back)
        before = laid.buffers[: len(laid.buffers) - 2 * len(start)]
        rows = Ragged(laid.packing, start, final, back, steps.resets, 1)
        laid.run.ragged(before, rows, seed, (), most_threads)
        return laid.output, laid.final, laid.saved

    def lay(
        self,
        tensors: tuple[Tensor, ...],
        steps: Steps,
        *,
        keep: bool,
        into: Mapping[str, Tensor] | None = None,
        final: tuple[Tensor, ...] | None = None,
        saved: Tensor | None = None,
        row: int = 0,
    ) -> Laid:
        """The call, its results made where they have no place yet.

        ``into`` [time, batch, axis] holds where values of each step go, the output by default;
        ``row`` is the caller's number of the first row, for drawn masks.
        """
        key: list[Any] = [keep, into is None, len(tensors[0]), steps.reverse, steps.first, row]
        key += (steps.lengths is None, cleared(steps, "copy"), steps.narrow)
        for name, place in (into or {}).items():
            key += (name, place.stride())
        for place in final or ():
            key.append(place.stride(0))
        asked = steps, keep, into, final, row
        call = self.get(key, tensors, tensors, tensors, *asked)
        if call is UNEVEN:
            tensors = tuple(map(self.library.by_rows, tensors))
            call = self.get(key, tensors, tensors, tensors, *asked)
        return self._place(call, tensors, steps, keep=keep, into=into, final=final, saved=saved)

    def _place(
        self,
        call: Forward,
        tensors: tuple[Tensor, ...],
        steps: Steps,
        *,
        keep: bool,
        into: Mapping[str, Tensor] | None = None,
        final: tuple[Tensor, ...] | None = None,
        saved: Tensor | None = None,
    ) -> Laid:
        """Give a call's results their places."""
        x, library = tensors[0], self.library
        stores = (x.new_empty(*call.output),) if into is None else tuple(into.values())
        if final is None:
            final = tuple(starmap(x.new_empty, call.states))
        pack = None if steps.lengths is None else packing(steps)
        if keep and saved is None:
            rows = call.rows if pack is None else pack.valid
            saved = library.room(call.saved * rows, x, self.item)
        kept = x if saved is None else saved
        where = library.addresses((x, kept, *stores, *tensors[1 : self.count], *final))
        if pack is not None and into is None:
            pack.blank(array(stores[0]))
        output = stores[0] if stores else None
        return Laid(call.run, where, output, final, saved, tensors, pack)

    def check(self, tensors: tuple[Tensor, ...], *_: Any) -> None:
        """Raises for a tensor that no kernel may read."""
        self.library.check(self.called, tensors)

    def make(self, tensors: tuple[Tensor, ...], steps: Steps, *asked: Any) -> Any:
        """A prepared call, or `UNEVEN`."""
        uneven = any(self.library.by_rows(tensor) is not tensor for tensor in tensors)
        return UNEVEN if uneven else self.prepare(tensors, steps, *asked)

    def prepare(
        self,
        tensors: tuple[Tensor, ...],
        steps: Steps,
        keep: bool,
        into: Mapping[str, Tensor] | None = None,
        final: tuple[Tensor, ...] | None = None,
        row: int = 0,
    ) -> Forward:
        """The call for tensors of these shapes, strides and, of weights, addresses."""
        reverse, ragged = steps.reverse, steps.lengths is not None
        x, start, weights = tensors[0], tensors[1 : self.count], tensors[self.count :]
        sizes = self.weights.sizes(x, start, weights)
        self.weights.check(weights, sizes)
        lead = time, batch = x.shape[0], x.shape[1]
        values = self.cell.shapes.values
        output = (time, batch, sizes[str(values[self.cell.output])])
        names = (self.cell.output,) if into is None else tuple(into)
        saved = {f"out.{n}": sizes[self.layout.axes[n]] for n in self.layout.saved if keep}
        stores = (*names, *(self.layout.saved if keep else ()))
        variant = Variant(ragged, cleared(steps, "copy"), steps.narrow)
        launcher = self.launcher(stores, variant)
        whole = self.part(0, x, reverse, ragged)
        parts = {"x": whole, "in.x": whole, **self.further_parts(0, x, sizes, reverse, ragged)}
        for k, name in enumerate(names):
            if into is None:
                row_bytes = output[2] * self.item
                strides = (batch * row_bytes, row_bytes)
                parts[f"out.{name}"] = turned(2 + k, 0, strides, time, reverse, ragged=ragged)
            else:
                self._check_place(name, into[name], sizes, lead)
                parts[f"out.{name}"] = self.part(2 + k, into[name], reverse, ragged)
        parts |= self.blocks(1, saved, lead, reverse, ragged)
        shapes = tuple([tuple(s.shape) for s in start])
        run = Prepared(
            launcher,
            self.program_sizes(launcher, lead, sizes),
            self.weight_places(weights),
            parts,
            self._states(start, final, 2 + len(names), variant),
            first=steps.first,
            row=row,
            backwards=reverse,
        )
        return Forward(run, output, shapes, sum(saved.values()), time * batch)

    def _check_place(
        self, name: str, place: Tensor, sizes: Mapping[str, int], lead: tuple[int, int]
    ) -> None:
        wanted = (*lead, sizes[self.layout.axes[name]])
        if tuple(place.shape) != wanted:
            raise InputError(f"{name} is {wanted}, the place for it {tuple(place.shape)}")

    def _states(
        self,
        start: tuple[Tensor, ...],
        final: tuple[Tensor, ...] | None,
        first: int,
        variant: Variant,
    ) -> list[tuple[int, int]]:
        """Buffer and bytes of a row of h0, hn and what resets put back."""
        widths = [s.shape[1] * self.item for s in start]
        count, anew = len(start), bool(variant.clear or variant.ragged)
        # Those of a first step are made for it where rows are reset or stand in another order.
        rows = [(first + k, w if anew else s.stride(0) * self.item)
                for k, (s, w) in enumerate(zip(start, widths, strict=True))]  # fmt: skip
        ends = widths
        if final is not None and not variant.ragged:
            ends = [place.stride(0) * self.item for place in final]
        rows += [(first + count + k, w) for k, w in enumerate(ends)]
        if variant.clear == "copy":
            rows += [(first + 2 * count + k, w) for k, w in enumerate(widths)]
        return rows
