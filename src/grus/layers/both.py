"""Both directions of a layer as one call: a thread each where the model of `kernels.split` says so,
and one output that neither copies.

What is an ordinary eager call on the kernels, with gradients or without, comes here; everything
else goes through `doors` direction by direction, and so do derivatives of derivatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.errors import MemoryKindError
from grus.kernels import ALONE, Part, give, pays, threads, together
from grus.layers import addresses, function
from grus.layers.binding import Binding, bind
from grus.layers.kernel import backwards, forwards
from grus.layers.path import WIDE, Path, choose, differentiated, traced
from grus.layers.profile import shown
from grus.layers.states import Row
from grus.layers.stepping import BOTH
from grus.runtime import Adjoint, Prepared

DIRECTIONS = (0, 1)
Call = tuple[Prepared, list[int], list[int]]
"""A prepared call, its buffers and its results."""


def sequence(
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
    if not all(map(addresses.usual, each)):
        return None
    bound = bind(record, tuple(named[0]))
    try:
        if torch.is_grad_enabled() and any(t.requires_grad for tensors in each for t in tensors):
            found = _Both.apply(bound, *each[0], *each[1][1:])  # type: ignore[no-untyped-call]
        else:
            found = _forward(bound, each, keep=False)[0]
    except MemoryKindError:
        return None
    output, *final = found
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
        run([(one.run, one.buffers, []) for one in laid])
    return (output, *laid[0].final, *laid[1].final), [one.saved for one in laid]


def run(calls: list[Call]) -> None:
    """Calls that do not wait for each other: at once where that is faster, else in turn."""
    works = [prepared.kernel.work_of(prepared.sizes) for prepared, _, _ in calls]
    if not pays(works):
        for prepared, buffers, results in calls:
            prepared(buffers, 0, results)
        return
    begun = [prepared.begin(ALONE, buffers) for prepared, buffers, _ in calls]
    parts = [
        Part(prepared.kernel.compiled.address, one.block)
        for (prepared, _, _), one in zip(calls, begun, strict=True)
    ]
    together(parts, min(threads.limit(), len(parts)))
    for one, (prepared, buffers, results) in zip(begun, calls, strict=True):
        prepared.end(one, buffers, results)


def _each(x: Tensor, rest: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """The tensors of each direction."""
    half = len(rest) // 2
    return [(x, *rest[:half]), (x, *rest[half:])]


class _Both(torch.autograd.Function):
    """Inputs (binding, x, *states and parameters forward in time, *the same backward in time),
    outputs (output, *final states of both)."""

    @staticmethod
    def forward(ctx: Any, bound: Binding, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        found, saved = _forward(bound, _each(x, rest), keep=True)
        ctx.bound = bound
        function.keep(ctx, found[0], *saved, x, *rest)
        return found

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *dfinal: Tensor) -> tuple[Any, ...]:
        def again(_: Tensor, __: Tensor, x: Tensor, *rest: Tensor) -> Tensor:
            return _forward(ctx.bound, _each(x, rest), keep=False)[0][0]

        output, first, second, x, *rest = function.kept(ctx, dy, again)
        half, count, size = len(rest) // 2, ctx.bound.states, output.shape[2] // 2
        needs = ctx.needs_input_grad[1:]
        own = (needs[: 1 + half], (needs[0], *needs[1 + half :]))
        calls = [
            Adjoint(
                BOTH[k],
                own[k],
                output[..., k * size : (k + 1) * size],
                (first, second)[k],
                (dy[..., k * size : (k + 1) * size], *dfinal[k * count : (k + 1) * count]),
                (x, *rest[k * half : (k + 1) * half]),
            )
            for k in DIRECTIONS
        ]
        if any(function.followed(call.given) for call in calls):
            found = [function.gradients_of(ctx.bound, call) for call in calls]
        else:
            found = _gradients(ctx.bound, calls)
        parts = [one[0] for one in found if one[0] is not None]
        dx = None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return None, dx, *found[0][1:], *found[1][1:]


def _gradients(bound: Binding, calls: list[Adjoint]) -> list[list[Tensor | None]]:
    """The gradients of each direction's tensors, where nobody differentiates them again."""
    x, *states = calls[0].tensors
    laid = [backwards(bound, x.dtype).lay(call) for call in calls]
    with shown("backward", bound.cell, x, states, "2 directions"):
        run([(one.run, one.buffers, one.results) for one in laid])
    for one in laid:
        give(one.adjoints)
    return [one.gradients for one in laid]
