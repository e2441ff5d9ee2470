"""Layers upon layers and both directions of each: in turn, or as calls that run at once.

- One layer in one direction after the other, with dropout between layers (`run`).
- Both directions of a layer as one call (`both`): a thread each where the model of `kernels.split`
  says so, and one output that neither copies.
- Layers one behind the other in time (`wave`): while a layer is at one piece of the sequence, the
  layer above it is at the piece before, on another thread. The bits are those of one layer after
  the other, since a cut of the sequence changes none.

What is an ordinary eager call on the kernels comes to `both`, with gradients or without, and to
`wave` without; everything else goes through `dispatch` row by row, and so do derivatives of
derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.equations import Connection
from grus.errors import MemoryKindError
from grus.kernels import (
    ALONE,
    DENSE,
    PLAIN,
    Part,
    Sizes,
    Steps,
    Work,
    give,
    pays,
    threads,
    together,
    wave_pays,
)
from grus.layers import connected, function, kernel_calls, onnx_nodes, parameters
from grus.layers.dispatch import Path, choose
from grus.layers.inputs import BOTH, Directions, Further
from grus.layers.kernel_calls import backwards, by_rows, forwards
from grus.layers.parameters import Binding, bind
from grus.layers.states import Row
from grus.layers.torch_state import WIDE, differentiated, onnx_exported, shown, traced
from grus.runtime import Adjoint, Forwards, Laid, Prepared

if TYPE_CHECKING:
    from grus.layers.recurrent import Recurrent

RunRow = Callable[[int, Tensor, Row, Steps], tuple[Tensor, Row]]
"""One layer in one direction: (row of h_n, x [time, batch, input], its initial states, steps)."""
RunBoth = Callable[[int, Tensor, tuple[Row, Row]], tuple[Tensor, tuple[Row, Row]] | None]
"""Both directions of a layer, from the row of the first; None where `RunRow` must."""


def run(
    row: RunRow,
    x: Tensor,
    start: Sequence[Row],
    steps: Directions,
    *,
    bidirectional: bool,
    between: Callable[[Tensor], Tensor] | None = None,
    above: Callable[[int, Tensor, Tensor], Tensor] | None = None,
    both: RunBoth | None = None,
) -> tuple[Tensor, list[Row]]:
    """The last layer's output [time, batch, directions * hidden] and each row's final states.

    ``between`` is applied to the output of every layer but the last (dropout); ``above`` of (layer,
    what it read, its output) is what the next layer reads, by default the output. ``both`` may run
    the two directions of a layer at once.
    """
    final: list[Row] = []
    while len(final) < len(start):
        k = len(final)
        result = both(k, x, (start[k], start[k + 1])) if both is not None else None
        if result is not None:
            y, states = result
            final += states
        else:
            y, state = row(k, x, start[k], steps[0])
            final.append(state)
            if bidirectional:
                back, state = row(k + 1, x, start[k + 1], steps[1])
                final.append(state)
                y = torch.cat([y, back], dim=-1)
        if between is not None and len(final) < len(start):
            y = between(y)
        x = y if above is None else above(k // (1 + bidirectional), x, y)
    return x, final


def through(
    layer: Recurrent,
    x: Tensor,
    start: Any,
    steps: Directions,
    drop: Callable[[Tensor], Tensor],
    more: Further,
) -> tuple[Tensor, list[Row]]:
    """`run` over the rows of a layer's h_n, or what is faster; ``drop`` stands between layers in
    training, ``more`` are the further inputs, which each of them reads."""
    between = drop if layer.dropout and layer.training else None
    compiled = torch.compiler.is_compiling()
    ordinary = (
        not compiled
        and steps is BOTH
        and not layer.recompute
        and not more
        and not (layer.training and layer._random)
    )
    if ordinary and between is None and not layer.bidirectional:
        named = [layer._read(row) for row in range(len(start))]
        dense = layer.connect == "dense"
        result = wave(layer._records, x, start, named, layer.backend, dense)
        if result is not None:
            return result
    row: RunRow = partial(layer._layer, more=more)
    above = None
    if layer.connect:
        x, row, above = connected.stacked(layer, x, steps, between, more)
    exported = compiled and onnx_exported() and layer.backend != "composite" and not more
    at_once = layer.bidirectional and (ordinary or exported)
    return run(
        row,
        x,
        start,
        steps,
        bidirectional=layer.bidirectional,
        between=between,
        above=above,
        both=partial(_directions, layer, steps[0] if exported else None) if at_once else None,
    )


def _directions(
    layer: Recurrent, exported: Steps | None, row: int, x: Tensor, start: tuple[Row, Row]
) -> tuple[Tensor, tuple[Row, Row]] | None:
    first, second = (parameters.read(layer, layer._cell_rows[k]) for k in (row, row + 1))
    if exported is not None:
        return onnx_nodes.both(layer.record, x, start, (first, second), exported)
    return both(layer.record, x, start, (first, second), layer.backend)


DIRECTIONS = (0, 1)
Call = tuple[Prepared, list[int], list[int]]
"""A prepared call, its buffers and its results."""


def both(
    record: TorchRecord,
    x: Tensor,
    start: tuple[Row, Row],
    named: tuple[dict[str, Tensor], dict[str, Tensor]],
    asked: Path | None,
) -> tuple[Tensor, tuple[Row, Row]] | None:
    """(output [time, batch, 2 * axis], final states of each direction) for ``x`` [time, batch,
    input]; None where this is not such a call, and nothing has happened then."""
    if x.dtype not in WIDE or record.cell.masks or traced() or differentiated():
        return None
    if torch.is_autocast_enabled("cpu"):
        return None
    if choose(x, asked, record.cell) != "kernels":
        return None
    each = [(x, *start[k], *named[k].values()) for k in DIRECTIONS]
    if not all(map(kernel_calls.usual, each)):
        return None
    bound = bind(record, tuple(named[0]))
    try:
        if torch.is_grad_enabled() and any(t.requires_grad for tensors in each for t in tensors):
            results = _Both.apply(bound, *each[0], *each[1][1:])  # type: ignore[no-untyped-call]
        else:
            results = _forward(bound, each, keep=False)[0]
    except MemoryKindError:
        return None
    output, *final = results
    count = bound.states
    return output, (tuple(final[:count]), tuple(final[count:]))


def _forward(
    bound: Binding, each: list[tuple[Tensor, ...]], *, keep: bool
) -> tuple[tuple[Tensor, ...], list[Tensor | None]]:
    """(output, *final states of both directions), what backward reads of each."""
    x = each[0][0]
    launch = forwards(bound, x.dtype)
    size, name = launch.output_size(each[0]), bound.cell.output
    output = x.new_empty((*x.shape[:2], 2 * size))
    laid = [
        launch.lay(each[k], BOTH[k], keep=keep, into={name: output[..., k * size : (k + 1) * size]})
        for k in DIRECTIONS
    ]
    with shown("forward", bound.cell, x, each[0][1:], "2 directions"):
        _at_once([(direction.run, direction.buffers, []) for direction in laid])
    return (output, *laid[0].final, *laid[1].final), [direction.saved for direction in laid]


def _at_once(calls: list[Call]) -> None:
    """Calls that do not wait for each other: at once where that is faster, else in turn."""
    works = [prepared.kernel.work_of(prepared.sizes) for prepared, _, _ in calls]
    if not pays(works):
        for prepared, buffers, results in calls:
            prepared(buffers, 0, results)
        return
    begun = [prepared.begin(ALONE, buffers) for prepared, buffers, _ in calls]
    parts = [
        Part(prepared.kernel.compiled.address, call.block)
        for (prepared, _, _), call in zip(calls, begun, strict=True)
    ]
    together(parts, min(threads.limit(), len(parts)))
    for call, (prepared, buffers, results) in zip(begun, calls, strict=True):
        prepared.end(call, buffers, results)


def _each(x: Tensor, rest: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """The tensors of each direction."""
    half = len(rest) // 2
    return [(x, *rest[:half]), (x, *rest[half:])]


class _Both(torch.autograd.Function):
    """Inputs (binding, x, *states and parameters forward in time, *the same backward in time),
    outputs (output, *final states of both)."""

    @staticmethod
    def forward(ctx: Any, bound: Binding, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        results, saved = _forward(bound, _each(x, rest), keep=True)
        ctx.bound = bound
        function.keep(ctx, results[0], *saved, x, *rest)
        return results

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *dfinal: Tensor) -> tuple[Any, ...]:
        def again(_: Tensor, __: Tensor, x: Tensor, *rest: Tensor) -> Tensor:
            return _forward(ctx.bound, _each(x, rest), keep=False)[0][0]

        output, first, second, x, *rest = function.kept(ctx, dy, again)
        half, count, size = len(rest) // 2, ctx.bound.states, output.shape[2] // 2
        needs = ctx.needs_input_grad[1:]
        wanted = (needs[: 1 + half], (needs[0], *needs[1 + half :]))
        calls = [
            Adjoint(
                BOTH[k],
                wanted[k],
                output[..., k * size : (k + 1) * size],
                (first, second)[k],
                (dy[..., k * size : (k + 1) * size], *dfinal[k * count : (k + 1) * count]),
                (x, *rest[k * half : (k + 1) * half]),
            )
            for k in DIRECTIONS
        ]
        if any(function.followed(call.grads) for call in calls):
            gradients = [function.gradients_of(ctx.bound, call) for call in calls]
        else:
            gradients = _gradients(ctx.bound, calls)
        parts = [direction[0] for direction in gradients if direction[0] is not None]
        dx = None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return None, dx, *gradients[0][1:], *gradients[1][1:]


def _gradients(bound: Binding, calls: list[Adjoint]) -> list[list[Tensor | None]]:
    """The gradients of each direction's tensors, where nobody differentiates them again."""
    x, *states = calls[0].tensors
    laid = [backwards(bound, x.dtype).lay(call) for call in calls]
    with shown("backward", bound.cell, x, states, "2 directions"):
        _at_once([(direction.run, direction.buffers, direction.results) for direction in laid])
    for direction in laid:
        give(direction.adjoints)
    return [direction.gradients for direction in laid]


PIECES, LEAST = 8, 16
"""Pieces of a sequence, and the fewest steps of one: fewer would not fill tiles of rows with x."""


def wave(
    records: Sequence[TorchRecord],
    x: Tensor,
    start: Sequence[Row],
    named: Sequence[dict[str, Tensor]],
    asked: Path | None,
    dense: bool = False,
) -> tuple[Tensor, list[Row]] | None:
    """(the last layer's output, final states of each layer) for ``x`` [time, batch, input]; None
    where this is not such a call, or where it would not be faster. ``dense``: a layer reads x and
    all outputs below it, which then lie side by side."""
    time, record = len(x), records[0]
    length = max(LEAST, -(-time // PIECES))
    replaced = traced() or differentiated() or torch.is_autocast_enabled("cpu")
    if length >= time or x.dtype not in WIDE or record.cell.masks or replaced:
        return None
    tensors = [t for k, row in enumerate(start) for t in (*row, *named[k].values())]
    if not kernel_calls.usual((x, *tensors)) or choose(x, asked, record.cell) != "kernels":
        return None
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *tensors)):
        return None
    launches = [forwards(bind(r, tuple(n)), x.dtype) for r, n in zip(records, named, strict=True)]
    every = (x, *start[0], *named[0].values())
    width = launches[0].output_size(every)
    pieces = range(0, time, length)
    reads = Connection("dense" if dense else "", x.shape[2], width, len(start)).reads
    if not wave_pays(_works(launches, every, reads), len(pieces)):
        return None
    laid: list[Laid] = []
    side = x.new_empty((time, x.shape[1], reads[-1])) if dense else None
    if side is not None:
        side[..., : reads[0]] = x
    below = by_rows(x)
    for k, launch in enumerate(launches):
        last = k == len(launches) - 1
        if side is None or last:
            output = x.new_empty((time, x.shape[1], width))
        else:
            output = side[..., reads[k] : reads[k + 1]]
        every = (below[:length], *start[k], *named[k].values())
        try:
            into = {launch.cell.output: output[:length]}
            laid.append(launch.lay(every, PLAIN, keep=False, into=into))
        except MemoryKindError:
            return None
        below = output if side is None or last else side[..., : reads[k + 1]]
    with shown("forward", record.cell, x, start[0], f"{len(start)} layers"):
        _run_wave(laid, pieces, time)
    return below, [layer.final for layer in laid]


def _works(
    launches: Sequence[Forwards], tensors: tuple[Tensor, ...], reads: Sequence[int]
) -> list[Work]:
    """What each layer has to do, from the first one's tensors and the size of what each reads."""
    lead, size, works = tensors[0].shape[:2], launches[0].sizes(tensors), []
    for launch, inputs in zip(launches, reads, strict=True):
        kernel = launch.launcher((launch.cell.output,), DENSE).kernel
        works.append(kernel.work_of(kernel.sizes(Sizes.of(lead, {**size, "input": inputs}))))
    return works


def _run_wave(laid: Sequence[Laid], pieces: range, time: int) -> None:
    """Each piece of a layer after the piece before it and after that of the layer below."""
    begun = [call.run.begin(ALONE, call.buffers) for call in laid]
    place: dict[tuple[int, int], int] = {}
    parts: list[Part] = []
    for front in range(len(laid) + len(pieces) - 1):
        for layer, (call, begin) in enumerate(zip(laid, begun, strict=True)):
            piece = front - layer
            if not 0 <= piece < len(pieces):
                continue
            before = [(layer, piece - 1), (layer - 1, piece)]
            after = tuple(place[p] for p in before if p in place)
            done = pieces[piece]
            block = call.run.later(begin, done, min(pieces.step, time - done))
            place[layer, piece] = len(parts)
            parts.append(Part(call.run.kernel.compiled.address, block, after))
    together(parts, min(threads.limit(), len(laid)))
    for call, begin in zip(laid, begun, strict=True):
        call.run.end(begin, call.buffers)
