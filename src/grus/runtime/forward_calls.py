"""Forward calls: a sequence of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from grus.errors import InputError
from grus.kernels import Steps, UnsupportedCellError, Variant, address
from grus.runtime.buffer import Array, Tensor, array, arrays
from grus.runtime.calls import Calls, cleared, turned
from grus.runtime.prepared import Part, Prepared, Ragged
from grus.runtime.rows import dense_flags, first_states, packing


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
        if steps.resets is None and steps.lengths is None:
            laid.run(laid.buffers, steps.seed or 0, (), most_threads)
        else:
            self._rows(laid, steps, base, most_threads)
        return laid.output, laid.final, laid.saved

    def plain(
        self, call: Forward, tensors: tuple[Tensor, ...], *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """The same of a call that was found already, without lengths or resets, for (x, *initial
        states)."""
        x = tensors[0]
        output = x.new_empty(*call.output)
        final = tuple([x.new_empty(*shape) for shape in call.states])
        saved = self.library.kept(call.saved * call.rows, x) if keep else None
        kept = x if saved is None else saved
        call.run(self.library.addresses((x, kept, output, *tensors[1:], *final)))
        return output, final, saved

    def _rows(
        self,
        laid: Laid,
        steps: Steps,
        base: tuple[Array, ...] | None,
        most_threads: int | None,
    ) -> None:
        """Run with resets, or where rows have lengths of their own."""
        start, final = arrays(laid.read[1 : self.count]), arrays(laid.final)
        copies = steps.resets is not None and steps.reset_to == "h0"
        back = tuple(map(np.ascontiguousarray, base or start)) if copies else ()
        begin, seed, resets = first_states(steps, start, back), steps.seed or 0, steps.resets
        own = laid.buffers[: -2 * len(start)] if start else laid.buffers
        pack = packing(steps)
        if pack is not None:
            rows = Ragged(pack, begin, final, back, resets, 1)
            laid.run.ragged(own, rows, seed, (), most_threads)
            return
        assert resets is not None
        flags = dense_flags(resets, backwards=steps.reverse, ahead=1)
        where = [*own, *map(address, (*begin, *final, *back, flags))]
        laid.run(where, seed, (), most_threads)

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
        library = self.library
        call = self._found(tensors, steps, keep, into, final, row)
        if call is None:
            tensors = tuple(map(library.by_rows, tensors))
            call = self._found(tensors, steps, keep, into, final, row)
            assert call is not None
        x = tensors[0]
        stores = (x.new_empty(*call.output),) if into is None else tuple(into.values())
        if final is None:
            final = tuple([x.new_empty(*shape) for shape in call.states])
        pack = None if steps.lengths is None else packing(steps)
        if keep and saved is None:
            saved = library.kept(call.saved * (call.rows if pack is None else pack.valid), x)
        kept = x if saved is None else saved
        where = library.addresses((x, kept, *stores, *tensors[1 : self.count], *final))
        if pack is not None and into is None:
            pack.blank(array(stores[0]))
        return Laid(call.run, where, stores[0] if stores else None, final, saved, tensors)

    def _found(
        self,
        tensors: tuple[Tensor, ...],
        steps: Steps,
        keep: bool,
        into: Mapping[str, Tensor] | None,
        final: tuple[Tensor, ...] | None,
        row: int,
    ) -> Forward | None:
        """The prepared call, None where tensors must be laid out anew for it."""
        library, ragged = self.library, steps.lengths is not None
        key: list[Any] = [keep, len(tensors[0]), steps.reverse, steps.first, ragged]
        key += (cleared(steps, "copy"), steps.narrow, row)
        if into is not None:
            for name, place in into.items():
                key += (name, place.stride())
        if final is not None:
            key += [place.stride(0) for place in final]
        try:
            key += library.addresses(tensors[self.count :])
        except RuntimeError:  # a fake or functional one
            library.check(self.called, tensors)
            raise
        short = tuple(key)
        call: Forward | None = self.found.get(short, tensors)
        if call is None:
            library.check(self.called, tensors)
            for tensor in tensors:
                key += (tensor.shape, tensor.stride(), library.unusual(tensor))
            call = self.calls.get(tuple(key))
            if call is None:
                if any(library.by_rows(tensor) is not tensor for tensor in tensors):
                    return None
                call = self.prepare(tensors, steps, keep=keep, into=into, final=final, row=row)
                self.remember(tuple(key), call)
            self.found.keep(short, tensors, call)
        return call

    def prepare(
        self,
        tensors: tuple[Tensor, ...],
        steps: Steps,
        *,
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
        self._check_inputs(launcher.kernel.plan.step_inputs)
        whole = self.part(0, x, reverse, ragged)
        parts = {"x": whole, "in.x": whole}
        for k, name in enumerate(names):
            if into is None:
                size = output[2] * self.item
                parts[f"out.{name}"] = self._new(2 + k, size, lead, reverse, ragged)
            else:
                self._check_place(name, into[name], sizes, lead)
                parts[f"out.{name}"] = self.part(2 + k, into[name], reverse, ragged)
        parts |= self.blocks(1, saved, lead, reverse, ragged)
        shapes = tuple([tuple(s.shape) for s in start])
        run = self.prepared(
            launcher,
            sizes,
            lead,
            weights,
            parts,
            self._states(start, final, 2 + len(names), variant),
            first=steps.first,
            row=row,
            backwards=reverse,
        )
        return Forward(run, output, shapes, sum(saved.values()), time * batch)

    def _new(
        self, buffer: int, size: int, lead: tuple[int, int], backwards: bool, ragged: bool
    ) -> Part:
        """Where a new array of [time, batch, size bytes] lies."""
        time, batch = lead
        return turned(buffer, 0, (batch * size, size), time, backwards, ragged=ragged)

    def _check_inputs(self, names: Sequence[str]) -> None:
        for name in names:
            if name != "x":
                raise UnsupportedCellError(
                    f"cell {self.cell.name}: the kernels take no mask per step yet ({name})"
                )

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
