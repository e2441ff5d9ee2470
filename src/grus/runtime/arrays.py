"""Sequences over NumPy arrays: forward, and backward through time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Unpack

import numpy as np

from grus.equations import Cell
from grus.errors import InputError
from grus.kernels import (
    PLAIN,
    Array,
    Narrow,
    Sizes,
    Steps,
    Variant,
    output_size,
    row_shares,
    with_masks,
)
from grus.runtime import recompute
from grus.runtime.arguments import Options, check, check_narrow, check_steps
from grus.runtime.backward_calls import Adjoint, Backwards
from grus.runtime.buffer import NUMPY, Buffer, array, arrays
from grus.runtime.calls import by_family, cleared
from grus.runtime.forward_calls import Forwards
from grus.runtime.pool import at_once
from grus.runtime.rows import packing

States = tuple[Array, ...]


@dataclass(frozen=True)
class Result:
    """The output [time, batch, hidden] and the final states, each [batch, hidden]."""

    output: Array
    state: States


@dataclass(frozen=True)
class Gradients:
    """dL/d(weights by family), dL/dx (None unless asked for), dL/dh0 per state."""

    weights: dict[str, Array]
    x: Array | None
    h0: States


def run(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | States | None = None,
    *,
    seed: int | None = None,
    threads: int | None = None,
    narrow: Narrow = "",
    **options: Unpack[Options],
) -> Result:
    """`grus.run` on the kernels: a cell over ``x`` [time, batch, input] in the dtype of ``x``.

    A row's result does not depend, bit for bit, on the other rows, on their number, on padding, on
    the threads, or on where the sequence is cut.

    Raises InputError naming the argument whose shape, dtype or values cannot be.
    """
    x, weights, start = check(cell, weights, x, h0, threads, planned=True)
    steps = check_steps(x.shape[:2], **options)
    check_narrow(narrow, x.dtype)
    steps = replace(steps, seed=seed, narrow=narrow)
    output = np.empty((*x.shape[:2], output_size(cell, weights, start)), x.dtype)
    final = tuple([np.empty(s.shape, x.dtype) for s in start])
    forward(cell, weights, x, start, output, final, steps=steps, threads=threads)
    return Result(output, final)


def forward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: States,
    output: Array,
    final: States,
    saved: Array | None = None,
    *,
    steps: Steps = PLAIN,
    threads: int | None = None,
) -> None:
    """Run into ``output`` and ``final``; with ``saved`` (`saved_size` numbers) keep what
    `backward` needs. Arguments are already checked; ``output`` is zeroed past a row's end."""
    if steps.narrow and saved is not None:
        raise InputError(f"training keeps full numbers, narrow={steps.narrow!r} is for inference")
    cell = with_masks(cell, steps)
    if saved is None:
        store(cell, weights, x, start, {cell.output: output}, final, steps, threads, start)
    else:
        calls = forwards(cell, x.dtype.name)
        tensors = buffers((x, *start, *(weights[f] for f in cell.families)))
        ends, kept = buffers(final), Buffer(saved)
        if steps.recompute:
            recompute.forward(calls, tensors, steps, most_threads=threads,
                              output=Buffer(output), final=ends, saved=kept)  # fmt: skip
        else:
            into = {cell.output: Buffer(output)}
            calls.forward(tensors, steps, keep=True, most_threads=threads,
                          into=into, final=ends, saved=kept)  # fmt: skip
    pack = packing(steps)
    if pack is not None:
        pack.blank(output)


def store(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    start: States,
    into: Mapping[str, Array],
    final: States,
    steps: Steps,
    threads: int | None,
    base: States,
) -> None:
    """Run forward; the program itself writes the values named in ``into`` there, step by step.

    Arrays are [time, batch, axis], any strides but along the last axis. Nothing is written past a
    row's end. A state's own name is the state as a step finds it. Arguments are already checked;
    resets go back to ``base``. Where OpenMP has no threads, rows are shared among Python's.
    """
    calls = forwards(cell, x.dtype.name)
    stacked = [weights[family] for family in cell.families]

    def share(first: int, end: int, most: int | None) -> None:
        rows = slice(first, end)
        every = (x[:, rows], *(s[rows] for s in start), *stacked)
        calls.forward(
            buffers(every),
            steps if end - first == x.shape[1] else _of_rows(steps, rows),
            keep=False,
            base=tuple([b[rows] for b in base]),
            most_threads=most,
            into={name: Buffer(place[:, rows]) for name, place in into.items()},
            final=buffers([f[rows] for f in final]),
            row=first,
        )

    cuts = _cuts(calls, x, start, stacked, tuple(into), steps, threads) if threads != 1 else []
    if len(cuts) < 3:
        share(0, x.shape[1], threads)
    else:
        at_once([partial(share, *ends, 1) for ends in pairwise(cuts)])


def _of_rows(steps: Steps, rows: slice) -> Steps:
    lengths = None if steps.lengths is None else steps.lengths[rows]
    resets = None if steps.resets is None else steps.resets[:, rows]
    return replace(steps, lengths=lengths, resets=resets)


def _cuts(
    calls: Forwards,
    x: Array,
    start: States,
    stacked: list[Array],
    stores: tuple[str, ...],
    steps: Steps,
    threads: int | None,
) -> list[int]:
    """The rows between which shares of about as many steps each end."""
    variant = Variant(steps.lengths is not None, cleared(steps, "copy"), steps.narrow)
    program = calls.launcher(stores, variant).kernel
    sizes = calls.weights.sizes(x, start, stacked)
    taken = np.full(x.shape[1], len(x)) if steps.lengths is None else steps.lengths
    lead = (int(taken.max(initial=0)), x.shape[1])
    work = program.work_of(program.sizes(Sizes.of(lead, sizes)))
    count = row_shares(work, threads)
    if count < 2:
        return []
    total = np.cumsum(taken)
    ends = np.searchsorted(total, total[-1] * np.arange(1, count) / count) + 1
    return sorted({0, *ends.tolist(), x.shape[1]})


def backward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    output: Array,
    saved: Array,
    dy: Array,
    dfinal: States,
    *,
    steps: Steps = PLAIN,
    need_x: bool = True,
    need_weights: bool = True,
    threads: int | None = None,
) -> Gradients:
    """Backpropagate through the sequence that `forward` ran with these arguments.

    ``dy`` [time, batch, hidden] is dL/d(output), ``dfinal`` dL/d(final states).
    """
    cell = with_masks(cell, steps)
    # Of the initial states only the shapes count here.
    tensors = buffers((x, *dfinal, *(weights[f] for f in cell.families)))
    needs = (need_x, *[True] * len(dfinal), *[need_weights] * len(cell.families))
    dresults = buffers((dy, *dfinal))
    call = Adjoint(steps, needs, Buffer(output), Buffer(saved), dresults, tensors)
    calls = backwards(cell, x.dtype.name)
    if steps.recompute:
        gradients = recompute.backward(
            calls, forwards(cell, x.dtype.name), call, most_threads=threads
        )
    else:
        gradients = calls.backward(call, most_threads=threads)
    end = 1 + len(dfinal)
    by_name = dict(zip(cell.families, gradients[end:], strict=True)) if need_weights else {}
    return Gradients(
        {family: array(g) for family, g in by_name.items()},
        array(gradients[0]) if need_x else None,
        arrays(gradients[1:end]),
    )


def buffers(each: Sequence[Array]) -> tuple[Buffer, ...]:
    """Each array as a buffer."""
    return tuple([Buffer(array) for array in each])


@lru_cache(maxsize=512)
def forwards(cell: Cell, dtype: str) -> Forwards:
    """The forward calls of a cell whose weights are stacked by family."""
    return Forwards(by_family(cell), dtype, NUMPY)


@lru_cache(maxsize=512)
def backwards(cell: Cell, dtype: str) -> Backwards:
    """The backward calls."""
    return Backwards(by_family(cell), dtype, NUMPY)
