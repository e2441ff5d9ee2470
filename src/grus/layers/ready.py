"""Calls of one layer that are ready: a look-up between the module and the kernel.

A small call costs as much as the Python before it. What most are (one layer in one direction,
nothing replaced, no lengths, no resets) is recognised by a few flags and by where its tensors lie;
everything else takes the way through `doors`, which gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.dialects import TorchRecord
from grus.kernels.backend import backend
from grus.kernels.prepared import Prepared
from grus.kernels.steps import PLAIN
from grus.layers import addresses, function, likeness
from grus.layers.addresses import PLAIN_TENSORS
from grus.layers.binding import Binding, bind
from grus.layers.launch import by_rows, unusual
from grus.layers.launch_forward import forwards
from grus.layers.likeness import Found
from grus.layers.path import WIDE
from grus.layers.profile import profiled
from grus.layers.states import State

_transformed = torch._C._are_functorch_transforms_active
_replaced = torch._C._len_torch_dispatch_stack
_intercepted = torch._C._is_torch_function_mode_enabled
_written_down = torch._C._get_tracing_state


@dataclass(frozen=True, slots=True)
class Ready:
    """A call of inference, or one whose derivative is recorded: that one has no ``run`` of its own.
    ``start`` are zeros for a call without states, which nobody writes to."""

    run: Prepared | None
    output: tuple[int, ...]
    states: tuple[tuple[int, ...], ...]
    start: tuple[Tensor, ...]
    bound: Binding


def sequence(
    record: TorchRecord,
    names: tuple[str, ...],
    inputs: int,
    parameters: Sequence[Tensor],
    x: Tensor,
    hx: State | None,
) -> tuple[Tensor, State] | None:
    """(output, final states [1, batch, size]) for ``x`` [time, batch, input], or None where this is
    not a plain call whose arguments all fit; nothing has happened then.

    ``parameters`` are in the order of ``names``, for ``inputs`` features."""
    if likeness.Guards is None or _replaced_or_followed():
        return None
    given = () if hx is None else (hx,) if isinstance(hx, Tensor) else hx
    if not _is_states(given, 0 if hx is None else len(record.cell.states)):
        return None  # the long way says what it is not
    found = _found(record, names, inputs)
    every = (x, *given, *parameters)
    recorded = torch.is_grad_enabled()
    key: list[Any] = [len(given), recorded, x.shape]
    try:
        for tensor in parameters:
            key.append(tensor.data_ptr())
    except RuntimeError:  # a fake or functional tensor has no memory
        return None
    if recorded:  # guards look at no flag that says so
        for tensor in every:
            key.append(tensor.requires_grad)
    call = found.get(tuple(key), every)
    if call is None:
        call = _prepare(record, names, inputs, x, tuple(given), tuple(parameters))
        if call is None:
            return None
        found.keep(tuple(key), every, call)
    if call.run is None:
        return _record(call, x, given, parameters)
    return _infer(call, call.run, x, given)


def _infer(call: Ready, run: Prepared, x: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, State]:
    output = x.new_empty(call.output)
    final = [x.new_empty(shape) for shape in call.states]
    where = [*addresses.of((x, *(given or call.start))), *[t.data_ptr() for t in final]]
    where[1:1] = output.data_ptr(), 0
    run(where)
    return output, final[0] if len(final) == 1 else tuple(final)


def _record(
    call: Ready, x: Tensor, given: Sequence[Tensor], parameters: Sequence[Tensor]
) -> tuple[Tensor, State]:
    start = [s[0] for s in given] if given else call.start
    output, final = function.recorded(call.bound, PLAIN, (x, *start, *parameters))
    states = tuple([state.unsqueeze(0) for state in final])
    return output, states[0] if len(states) == 1 else states


def _replaced_or_followed() -> bool:
    """True where operations are not simply run: compiled, traced, transformed, intercepted; and
    where the kernels must not run, or a profiler asks what does."""
    return (
        torch.compiler.is_compiling()
        or _transformed()
        or _replaced() > 0
        or _intercepted()
        or _written_down() is not None
        or forward_ad._current_level >= 0
        or backend() != "kernels"
        or profiled()
    )


def _is_states(given: object, count: int) -> bool:
    if not isinstance(given, (tuple, list)) or len(given) != count:
        return False
    for value in given:  # noqa: SIM110  a generator costs as much as a small kernel
        if not isinstance(value, Tensor):
            return False
    return True


@lru_cache(maxsize=256)
def _found(record: TorchRecord, names: tuple[str, ...], inputs: int) -> Found[Ready]:
    del record, names, inputs
    return Found()


def _prepare(
    record: TorchRecord,
    names: tuple[str, ...],
    inputs: int,
    x: Tensor,
    given: tuple[Tensor, ...],
    parameters: tuple[Tensor, ...],
) -> Ready | None:
    """The call, if its arguments are such that the kernels take them as they are."""
    bound = bind(record, names)
    every = (x, *given, *parameters)
    plain = all(
        type(t) in PLAIN_TENSORS
        and t.dtype is x.dtype
        and addresses.is_dense(t)
        and not unusual(t)
        and by_rows(t) is t
        for t in every
    )
    if not parameters or not plain or x.dtype not in WIDE or x.dim() != 3 or x.shape[2] != inputs:
        return None
    if torch.is_autocast_enabled("cpu"):  # guards tell such a call from another
        return None
    addresses.check(bound.called if given else (bound.called[0], *names), every)
    launch = forwards(bound, x.dtype)
    sizes = launch.sizes((x, *[x] * bound.states, *parameters))
    shapes = [(1, x.shape[1], sizes[a]) for a in bound.cell.shapes.states.values()]
    if given and [tuple(t.shape) for t in given] != shapes:
        return None
    start = given or tuple(zeros(x, shape) for shape in shapes)
    rows = tuple(s[0] for s in start)
    begin = () if given else rows
    if torch.is_grad_enabled() and any(t.requires_grad for t in every):
        return Ready(None, (), tuple(shapes), begin, bound)
    call = launch.prepare((x, *rows, *parameters), PLAIN, keep=False)
    return Ready(call.run, call.output, tuple(shapes), begin, bound)


_zeros: dict[torch.dtype, Tensor] = {}
"""States at the beginning, which nobody writes: one stretch of zeros for each dtype, as long as the
longest, whatever the number of shapes."""


def zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros of a shape, a view of those that all calls share."""
    count = math.prod(shape)
    found = _zeros.get(like.dtype)
    if found is None or found.numel() < count:
        with torch.inference_mode(False):
            found = torch.zeros(1 << max(count - 1, 0).bit_length(), dtype=like.dtype)
        _zeros[like.dtype] = found
    return found[:count].view(shape)
