"""`grus.trace`: the values of a layer of grus or of torch, over one call's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError, needed_for
from grus.kernels.backend import backend
from grus.traces.record import record
from grus.traces.recorded import Trace
from grus.traces.request import Asked, Chosen, Request, state_name
from grus.traces.source import Source, both_ways, read, sequence, start

if TYPE_CHECKING:
    from torch import nn

    from grus.arguments import ResetTo

Array = np.ndarray[Any, np.dtype[Any]]


def trace(
    layer: nn.Module,
    x: Any,
    state: Any = None,
    *,
    values: Sequence[str] | None = None,
    layers: Chosen = None,
    directions: Chosen = None,
    steps: Chosen = None,
    units: Chosen = None,
    lengths: Any = None,
    resets: Any = None,
    reset_to: ResetTo = "zero",
    tokens: Sequence[str] | None = None,
) -> Trace:
    """Run ``layer`` over ``x`` and record what its cell computed at every step.

    ``layer`` is any layer of grus, or torch's ``nn.GRU``, ``nn.LSTM`` or ``nn.RNN``, float32 or
    float64 on the CPU. It is read, never changed, and runs as in ``eval()``: no dropout, the means
    of random masks. ``x``, ``state``, ``lengths``, ``resets`` and ``reset_to`` are what the layer's
    own call takes (``x`` a tensor or array [time, batch, input], batch first where the layer is,
    [time, input], or a PackedSequence, whose rows come in the caller's order).

    What is recorded is asked for: ``values`` by the names of the cell's equations ("z", "n"; "h",
    or "h_next", is the state after a step), by default all gates, candidates and states;
    ``layers``, ``directions`` (0 forward, 1 backward in time), ``steps`` and ``units`` each as a
    number, a list, a slice or the text "a:b". ``units`` are those of the hidden axis; a value along
    another axis (a projected state) is recorded whole. ``tokens`` labels the steps of ``x``, one
    each; a text gives its characters.

    The kernels write the values themselves, window by window, in one forward run; no value depends
    on how it is cut. Memory is that of what is asked for, and about 8 MiB: in a stack of one
    direction no layer's output is kept whole. With two directions the layer above needs both from
    its first step on, so one layer's output is kept for the next, as the layer's own call keeps it.

    The output of a grus layer is recorded bit for bit as its own call computes it on the kernels.
    That of torch's layers is the grus kernels' too: it agrees with torch's own within rounding.

    Raises InputError naming the argument that cannot be, or saying what the kernels cannot run.
    """
    with needed_for("grus.trace"):
        chain = read(layer)
    return follow(
        chain,
        x,
        state,
        Asked(values, layers, directions, steps, units),
        lengths=lengths,
        resets=resets,
        reset_to=reset_to,
        tokens=tokens,
    )


def follow(
    source: Source,
    x: Any,
    state: Any,
    asked: Asked,
    *,
    lengths: Any = None,
    resets: Any = None,
    reset_to: ResetTo = "zero",
    tokens: Sequence[str] | None = None,
) -> Trace:
    """The trace of layers that are read already."""
    if backend() != "kernels":
        raise InputError("the kernels write a trace, and here they are off (GRUS_BACKEND)")
    cell, stack = source.cell, source.stack
    given = sequence(source, x, lengths, resets)
    begin, how = start(source, state, given), both_ways(given, resets, reset_to)
    time, batch = given.x.shape[:2]
    request = asked.request(cell, (stack.layers, stack.directions, time, source.sizes["hidden"]))
    labels = _labels(tokens, time, request.steps)
    found = record(stack, given.x, begin, how, request)
    counted = how[0].lengths
    return Trace(
        cell,
        {state_name(cell, name): array for name, array in found.items()},
        _starts(source, begin, request),
        request.layers,
        request.directions,
        request.steps,
        request.units,
        np.full(batch, time) if counted is None else counted,
        labels,
    )


def _starts(source: Source, begin: list[tuple[Array, ...]], request: Request) -> dict[str, Array]:
    """[layer, direction, batch, unit] of each state, of what is recorded."""
    cell, found = source.cell, {}
    for at, state in enumerate(cell.states):
        each = np.stack([row[at] for row in begin])
        each = each.reshape(source.stack.layers, source.stack.directions, *each.shape[1:])
        each = each[request.layers][:, request.directions]
        found[state] = each[..., request.units] if cell.shapes.states[state] == "hidden" else each
    return found


def _labels(tokens: Sequence[str] | None, time: int, steps: Array) -> tuple[str, ...] | None:
    """The labels of the recorded steps."""
    if tokens is None:
        return None
    given = list(tokens)
    if len(given) != time:
        raise InputError(f"tokens must be {time}, one for each step of x, got {len(given)}")
    if not all(isinstance(token, str) for token in given):
        raise InputError("tokens must be texts, one for each step of x")
    return tuple(given[step] for step in steps)
