"""Training that keeps little: the states at a few steps, and everything between them run again.

The sequence is cut into windows of about sqrt(T) steps. Forward keeps the states where windows
begin; backward runs each window forward again, from the same states to the same bits, and then
backward. What is kept shrinks from a few values of every step to the windows' first states and one
window's values; the price is a second forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from grus.kernels import Steps, part, windows
from grus.runtime.backward_calls import Adjoint, Backwards
from grus.runtime.buffer import Tensor, array, arrays
from grus.runtime.forward_calls import Forwards
from grus.runtime.rows import packing


def forward(
    calls: Forwards,
    tensors: tuple[Tensor, ...],
    steps: Steps,
    *,
    output: Tensor | None = None,
    final: tuple[Tensor, ...] | None = None,
    saved: Tensor | None = None,
    most_threads: int | None = None,
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """`Forwards.forward`, keeping only the states where windows begin."""
    calls.library.check(calls.called, tensors)
    x, weights = tensors[0], tensors[calls.count :]
    start = tuple([calls.library.by_rows(s) for s in tensors[1 : calls.count]])
    parts, name = windows(steps, len(x)), calls.cell.output
    if output is None:
        size = calls.weights.sizes(x, start, weights)[calls.cell.shapes.values[name] or "one"]
        output = x.new_empty(*x.shape[:2], size)
    if final is None:
        final = tuple([s.new_empty(*s.shape) for s in start])
    if saved is None:
        count = len(parts) * sum(math.prod(s.shape) for s in start)
        saved = calls.library.room(count, x, calls.item)
    state: tuple[Tensor, ...] = start
    base = arrays(start)
    for (first, end), places in zip(parts, _states(saved, len(parts), start), strict=True):
        for place, value in zip(arrays(places), arrays(state), strict=True):
            place[...] = value
        state = calls.forward(
            (x[first:end], *state, *weights),
            part(steps, first, end),
            keep=False,
            base=base,
            into={name: output[first:end]},
            most_threads=most_threads,
        )[1]
    for place, value in zip(arrays(final), arrays(state), strict=True):
        place[...] = value
    pack = packing(steps)
    if pack is not None:
        pack.blank(array(output))
    return output, final, saved


def backward(
    calls: Backwards, forwards: Forwards, call: Adjoint, *, most_threads: int | None = None
) -> list[Tensor | None]:
    """`Backwards.backward`, window by window, each run forward once more."""
    steps, (dy, *dfinal), count = call.steps, call.grads, calls.count
    x, start, weights = call.tensors[0], call.tensors[1:count], call.tensors[count:]
    needs_x, training = call.needs[0], any(call.needs[count:])
    needs = (needs_x, *[True] * len(start), *[training] * len(weights))
    parts = windows(steps, len(x))
    kept = _states(call.saved, len(parts), start)
    total = [w.new_empty(*w.shape) if training else None for w in weights]
    sums = arrays([t for t in total if t is not None])
    for each in sums:
        each[...] = 0
    dx = x.new_empty(*x.shape) if needs_x else None
    collected = [np.zeros(s.shape, a.dtype) for s, a in zip(start, arrays(start), strict=True)]
    for (first, end), state in zip(reversed(parts), reversed(kept), strict=True):
        inner, tensors = part(steps, first, end), (x[first:end], *state, *weights)
        again, _, saved = forwards.forward(
            tensors, inner, keep=True, base=arrays(kept[0]), most_threads=most_threads
        )
        grads = (dy[first:end], *dfinal)
        gradients = calls.backward(
            Adjoint(inner, needs, again, saved, grads, tensors),
            most_threads=most_threads,
            collected=collected,
        )
        dfinal = gradients[1:count]
        for each, window in zip(sums, gradients[count:] if training else (), strict=True):
            np.add(each, array(window), out=each)
        if dx is not None:
            array(dx)[first:end] = array(gradients[0])
    begin = [d.new_empty(*d.shape) for d in dfinal]
    for place, value, base in zip(arrays(begin), arrays(dfinal), collected, strict=True):
        place[...] = value + base if steps.reset_to == "h0" and steps.resets is not None else value
    every = (dx, *begin, *total)
    return [g if need else None for g, need in zip(every, call.needs, strict=True)]


def _states(saved: Tensor, parts: int, like: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """The kept states of each window, as views."""
    states_of, at = [], 0
    for _ in range(parts):
        states = []
        for s in like:
            size = math.prod(s.shape)
            states.append(saved[at : at + size].reshape(*s.shape))
            at += size
        states_of.append(tuple(states))
    return states_of
