"""Layers one behind the other in time: while a layer is at one piece of the sequence, the layer
above it is at the piece before, on another thread.

Calls of inference through several layers in one direction come here, where the model of
`kernels.split` says that it is faster; the bits are those of one layer after the other, since a
cut of the sequence changes none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.errors import MemoryKindError
from grus.kernels import ALONE, DENSE, PLAIN, Part, Work, threads, together, wave_pays
from grus.layers import addresses
from grus.layers.addresses import by_rows
from grus.layers.binding import bind
from grus.layers.kernel import forwards
from grus.layers.path import WIDE, Path, choose, differentiated, traced
from grus.layers.profile import shown
from grus.layers.states import Row
from grus.runtime import Forwards, Laid

PIECES, LEAST = 8, 16
"""Pieces of a sequence, and the fewest steps of one: fewer would not fill tiles of rows with x."""


def sequence(
    record: TorchRecord,
    x: Tensor,
    start: Sequence[Row],
    named: Sequence[dict[str, Tensor]],
    asked: Path | None,
) -> tuple[Tensor, list[Row]] | None:
    """(the last layer's output, final states of each layer) for ``x`` [time, batch, input]; None
    where this is not such a call, or where it would not be faster."""
    time = len(x)
    length = max(LEAST, -(-time // PIECES))
    replaced = traced() or differentiated() or torch.is_autocast_enabled("cpu")
    if length >= time or x.dtype not in WIDE or record.cell.masks or replaced:
        return None
    tensors = [t for k, row in enumerate(start) for t in (*row, *named[k].values())]
    if not addresses.usual((x, *tensors)) or choose(x, asked, record.cell) != "kernels":
        return None
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *tensors)):
        return None
    launch = forwards(bind(record, tuple(named[0])), x.dtype)
    every = (x, *start[0], *named[0].values())
    width = launch.output_size(every)
    pieces = range(0, time, length)
    if not wave_pays(_works(launch, every, width, len(start)), len(pieces)):
        return None
    laid: list[Laid] = []
    below = by_rows(x)
    for row, own in zip(start, named, strict=True):
        output = x.new_empty((time, x.shape[1], width))
        every = (below[:length], *row, *own.values())
        try:
            into = {record.cell.output: output[:length]}
            laid.append(launch.lay(every, PLAIN, keep=False, into=into))
        except MemoryKindError:
            return None
        below = output
    with shown("forward", record.cell, x, start[0], f"{len(start)} layers"):
        _run(laid, pieces, time)
    return below, [one.final for one in laid]


def _works(launch: Forwards, tensors: tuple[Tensor, ...], width: int, layers: int) -> list[Work]:
    """What each layer has to do."""
    kernel, size = launch.launcher((launch.cell.output,), DENSE).kernel, launch.sizes(tensors)
    lead, own = tensors[0].shape[:2], (size["hidden"], size.get("projection", 0))
    inputs = (size["input"], *[width] * (layers - 1))
    return [kernel.work_of(kernel.sizes((*lead, count, *own))) for count in inputs]


def _run(laid: Sequence[Laid], pieces: range, time: int) -> None:
    """Each piece of a layer after the piece before it and after that of the layer below."""
    begun = [one.run.begin(ALONE, one.buffers) for one in laid]
    place: dict[tuple[int, int], int] = {}
    parts: list[Part] = []
    for front in range(len(laid) + len(pieces) - 1):
        for layer, (one, begin) in enumerate(zip(laid, begun, strict=True)):
            piece = front - layer
            if not 0 <= piece < len(pieces):
                continue
            before = [(layer, piece - 1), (layer - 1, piece)]
            after = tuple(place[p] for p in before if p in place)
            done = pieces[piece]
            block = one.run.later(begin, done, min(pieces.step, time - done))
            place[layer, piece] = len(parts)
            parts.append(Part(one.run.kernel.compiled.address, block, after))
    together(parts, min(threads.limit(), len(laid)))
    for one, begin in zip(laid, begun, strict=True):
        one.run.end(begin, one.buffers)
