"""Backward calls: the gradients of a sequence of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np

from grus.equations import columns
from grus.errors import InputError
from grus.kernels import Array, Kernel, Steps, Variant, address, give, kernel, take
from grus.runtime.buffer import Library, Tensor, array, arrays
from grus.runtime.calls import UNEVEN, Calls, Weights, cleared, turned
from grus.runtime.gradients import GradientTerms, recipe
from grus.runtime.prepared import Part, Prepared, Ragged
from grus.runtime.rows import Packing, packing


class Adjoint(NamedTuple):
    """What a backward call is given: how forward ran, which of the tensors need a gradient, what
    forward gave and kept, (dy, *d(final states)), and (x, *initial states, *weights)."""

    steps: Steps
    needs: tuple[bool, ...]
    output: Tensor
    saved: Tensor
    grads: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]


class Backward(NamedTuple):
    """A prepared backward call: its buffers are x, output, saved, dy, adjoints, what is stored
    besides, then the adjoints of the states, final and initial."""

    run: Prepared
    columns: int
    """Numbers of the adjoints of a step of a row."""
    states: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...]
    """The shapes of the weights whose gradients are made: all, or none."""
    spread: bool
    """Whether dy is one number everywhere, as the gradient of a sum is."""


class Laid(NamedTuple):
    """A backward call whose results have their places; ``end`` are the states' gradients."""

    run: Prepared
    buffers: list[int]
    results: list[int]
    gradients: list[Tensor | None]
    end: list[Tensor]
    dfinal: Sequence[Tensor]
    """The gradients of the final states, in the order of the derived step's."""
    adjoints: Array
    packing: Packing | None
    packed_x: Tensor | None
    """Where dL/dx goes without padding."""
    alive: tuple[Any, ...]
    """What the call reads and writes, which must live until it is over."""


class Backwards(Calls):
    """The backward calls of some weights in one dtype."""

    def __init__(self, weights: Weights, dtype: str, library: Library) -> None:
        super().__init__(weights, dtype, library)
        back, derived = self.layout.derived.cell.states, self.layout.derived
        self.places = [back.index(f"d{s}") for s in self.cell.states]
        self.order = [self.places.index(k) for k in range(len(self.places))]
        self.reads_output = self.cell.output in derived.saved

    def backward(
        self,
        call: Adjoint,
        *,
        most_threads: int | None = None,
        collected: list[Array] | None = None,
    ) -> list[Tensor | None]:
        """The gradient of each of the tensors that needs one. What resets to h0 collect is added to
        the states', or to ``collected``, an array a state."""
        laid, steps = self.lay(call), call.steps
        if steps.resets is None and laid.packing is None:
            laid.run(laid.buffers, steps.seed or 0, laid.results, most_threads)
        else:
            base = self._rows(laid, call, most_threads)
            totals = arrays(laid.end) if collected is None else collected
            for total, part in zip(totals if base else (), base, strict=True):
                np.add(total, part, out=total)
        give(laid.adjoints)
        return laid.gradients

    def lay(self, call: Adjoint, *, into: Mapping[str, Tensor] = {}) -> Laid:
        """The call, its results made; ``into`` [time, batch, axis] is where values of each step
        go."""
        library, count, steps = self.library, self.count, call.steps
        known = self._known(call, into)
        if known is UNEVEN:
            call = self._even(call)
            known = self._known(call, into, copied=True)
        needs, x, weights = call.needs, call.tensors[0], call.tensors[count:]
        output, (dy, *dfinal), saved = call.output, call.grads, library.by_rows(call.saved)
        if saved.dtype != x.dtype:
            raise InputError(f"what forward kept came back as {saved.dtype}, it was {x.dtype}")
        if known.spread:
            dy = dy.as_strided(dy.shape[2:], (0,)).contiguous()
        pack = None if steps.lengths is None else packing(steps)
        valid = pack.valid if pack is not None else x.shape[0] * x.shape[1]
        adjoints, flat = take(known.columns * self.item * valid)
        end = list(starmap(x.new_empty, known.states))
        if len(end) > 1:
            dfinal, begin = self._ordered(dfinal), self._ordered(end)
        else:
            begin = end
        where = library.addresses((x, output, saved, dy, *into.values(), *dfinal, *begin))
        where.insert(4, flat)
        dx = x.new_empty(*x.shape) if needs[0] else None
        sums = list(starmap(x.new_empty, known.weights))
        results = library.addresses((x if dx is None else dx, *(sums or weights)))
        every = [dx, *end, *(sums or [None] * len(weights))]
        gradients = every
        if not all(needs):
            gradients = [g if need else None for g, need in zip(every, needs, strict=True)]
        packed_x: Tensor = None
        packed: tuple[Array, ...] = ()
        if pack is not None:
            read = (x, output) if self.reads_output else (x,)
            packed = tuple([pack.pack(array(t)) for t in read])
            results += map(address, packed)
            if dx is not None:
                packed_x = x.new_empty(pack.valid, x.shape[2])
                results[:1] = library.addresses((packed_x,))
        alive = (x, output, saved, dy, *dfinal, *weights, *every, *packed, *into.values())
        return Laid(
            known.run, where, results, gradients, end, dfinal, adjoints, pack, packed_x, alive
        )

    def _ordered(self, states: Sequence[Tensor]) -> list[Tensor]:
        """The cell's states as the derived step has them."""
        return [states[k] for k in self.order]

    def _known(self, call: Adjoint, into: Mapping[str, Tensor], copied: bool = False) -> Any:
        """The prepared call, or that tensors must be copied first."""
        steps, x, training = call.steps, call.tensors[0], True in call.needs[self.count :]
        key: list[Any] = [copied, len(x), steps.reverse, steps.first, call.needs[0], training]
        key += (steps.lengths is None, cleared(steps, "collect"), *into)
        read = (call.output,) if self.reads_output else ()
        every = (x, *read, *call.grads, *call.tensors[self.count :])
        return self.get(key, call.tensors, every, call, into)

    def make(self, call: Adjoint, into: Mapping[str, Tensor]) -> Any:
        """A prepared call, or `UNEVEN`."""
        dy, even = call.grads[0], self._even(call)
        strides = dy.stride()
        # Gradients of sums: one number that torch expands.
        spread = not any(strides) and dy.numel() > 1 and not self.library.unusual(dy)
        if spread:
            even = even._replace(grads=(dy, *even.grads[1:]))
        same = all(a is b for a, b in zip(_tensors(even), _tensors(call), strict=True))
        return self._prepare(call, spread, into) if same else UNEVEN

    def check(self, call: Adjoint, *_: Any) -> None:
        """Raises InputError for a tensor without an address: forward saw another one."""
        names = ("output", *self.cell.states)
        called = ("output", "what forward kept", *(f"the gradient of {s}" for s in names))
        self.library.check(called, (call.output, call.saved, *call.grads))
        self.library.check(self.called, call.tensors)

    def _rows(self, laid: Laid, call: Adjoint, most_threads: int | None) -> list[Array]:
        """Run with lengths or resets. Gives what resets to h0 collect, an array a state, or
        nothing."""
        steps = call.steps
        end, dfinal = arrays(self._ordered(laid.end)), arrays(laid.dfinal)
        collects = cleared(steps, "collect") == "collect"
        base = tuple(map(np.zeros_like, end)) if collects else ()
        rows = Ragged(laid.packing, dfinal, end, base, steps.resets, 0)
        before = laid.buffers[: len(laid.buffers) - 2 * len(end)]
        laid.run.ragged(before, rows, steps.seed or 0, laid.results, most_threads)
        if laid.packed_x is not None and laid.packing is not None:
            laid.packing.unpack(array(laid.packed_x), array(laid.gradients[0]))
        return [base[k] for k in self.places if base]

    def _prepare(self, call: Adjoint, spread: bool, into: Mapping[str, Tensor]) -> Backward:
        plan, steps, going = self.layout, call.steps, not call.steps.reverse
        output, (dy, *begin), ragged = call.output, call.grads, steps.lengths is not None
        x, weights = call.tensors[0], call.tensors[self.count :]
        sizes = self.weights.sizes(x, begin, weights)
        lead = (x.shape[0], x.shape[1])
        columns = plan.columns(sizes)
        parts = {"in.x": self.part(0, x, going, ragged), "in.dy": self.part(3, dy, going, ragged)}
        parts |= self.further_parts(0, x, sizes, going, ragged)
        parts[f"in.{self.cell.output}"] = self.part(1, output, going, ragged)
        saved = {f"in.{n}": sizes[plan.axes[n]] for n in plan.saved}
        parts |= self.blocks(2, saved, lead, going, ragged)
        for name in plan.adjoints:
            at, _ = plan.place(name, sizes)
            row, first = columns * self.item, at * self.item
            parts[f"out.{name}"] = self._column(first, row, lead, going, ragged)
        for k, (name, place) in enumerate(into.items()):
            parts[f"out.{name}"] = self.part(5 + k, place, going, ragged)
        variant = Variant(ragged, cleared(steps, "collect"))
        launcher = self.launcher(tuple(into), variant)
        rows = self._states(begin, 5 + len(into), variant)
        buffers = 5 + len(into) + (0 if ragged else len(rows) + bool(variant.clear))
        run = Prepared(
            launcher,
            self.program_sizes(launcher, lead, sizes),
            self.weight_places(weights),
            parts,
            rows,
            first=steps.first,
            row=0,
            backwards=going,
            finish=self._finish(call, sizes, buffers),
        )
        shapes = [tuple(w.shape) for w in weights if True in call.needs[self.count :]]
        states = tuple([tuple(d.shape) for d in begin])
        return Backward(run, columns, states, tuple(shapes), spread)

    def kernel(self, stores: tuple[str, ...], variant: Variant) -> Kernel:
        """The program of the derived step, which stores the adjoints and these."""
        plan = self.layout
        every = (*plan.adjoints, *stores)
        return kernel(plan.derived.cell, self.dtype, every, plan.sums, self.cell, variant)

    def _column(
        self, first: int, row: int, lead: tuple[int, int], going: bool, ragged: bool
    ) -> Part:
        """Where a column of the adjoints lies."""
        time, batch = lead
        if ragged:
            return Part(4, first, -row if going else row, row, packed=True)
        return turned(4, first, (batch * row, row), time, going)

    def _states(
        self, begin: Sequence[Tensor], first: int, variant: Variant
    ) -> list[tuple[int, int]]:
        """Buffer and bytes of a row of the states' adjoints, final and initial, and of what resets
        collect."""
        widths = [begin[k].shape[1] * self.item for k in self.order]
        begins = widths if variant.ragged else [begin[k].stride(0) * self.item for k in self.order]
        groups = [begins, widths, *([widths] if variant.clear == "collect" else [])]
        return [(first + k, w) for k, w in enumerate(w for group in groups for w in group)]

    def _finish(self, call: Adjoint, sizes: Mapping[str, int], buffers: int) -> GradientTerms:
        x, output, weights = call.tensors[0], call.output, call.tensors[self.count :]
        ragged = call.steps.lengths is not None
        results = buffers + 3 + len(weights)
        if ragged:
            read = {"x": (results, x.shape[2]), self.cell.output: (results + 1, output.shape[2])}
        else:
            read = {"x": (0, distance(x)), self.cell.output: (1, distance(output))}
        operands = {n: (k, 0, 0, row * self.item) for n, (k, row) in read.items()}
        buffer, *_, width = operands["x"]
        for name, (first, _) in columns(self.cell, sizes).items():
            operands[name] = (buffer, 0, first * self.item, width)
        before = 0
        for name in self.layout.saved:
            row = sizes[self.layout.axes[name]] * self.item
            operands[name] = (2, before, 0, row)
            before += row
        places = self.library.addresses(weights) if weights else []
        return GradientTerms(
            self.weights,
            self.dtype,
            recipe(self.cell, tuple(sizes.items())),
            self.layout.columns(sizes),
            4,
            buffers,
            operands,
            tuple((p, w.stride(0) * self.item) for p, w in zip(places, weights, strict=True)),
            sizes,
            (call.needs[0], any(call.needs[self.count :])),
        )

    def _even(self, call: Adjoint) -> Adjoint:
        """The same, every tensor laid out as kernels and products read it."""
        by_rows = self.library.by_rows
        dense = call.steps.lengths is None

        def even(tensor: Tensor) -> Tensor:
            rows = by_rows(tensor)
            return rows if not dense or is_even(rows) else rows.contiguous()

        output = even(call.output) if self.reads_output else call.output
        grads = tuple(map(by_rows, call.grads))
        x, *rest = call.tensors
        return call._replace(output=output, grads=grads, tensors=(even(x), *map(by_rows, rest)))


def _tensors(call: Adjoint) -> tuple[Tensor, ...]:
    return call.output, *call.grads, *call.tensors


def is_even(tensor: Tensor) -> bool:
    """Whether the rows of [time, batch, axis], taken as [time * batch, axis], lie at one
    distance."""
    time, row, _ = tensor.stride()
    steps, batch, _ = tensor.shape
    return bool(batch == 1 or steps == 1 or time == batch * row)


def distance(tensor: Tensor) -> int:
    """Numbers from row to row of a tensor that is even."""
    time, row, _ = tensor.stride()
    return int(time if tensor.shape[1] == 1 else row)
