"""Calls of one layer that are ready: a look-up between the module and the kernel.

A small call costs as much as the Python before it. What most are (one layer in one direction,
nothing replaced, no lengths, no resets) is recognised by a few flags and by where its tensors lie;
everything else takes the way through `doors`, which gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.dialects import TorchRecord
from grus.kernels import PLAIN
from grus.kernels.backend import backend
from grus.layers import addresses, function, likeness
from grus.layers.addresses import PLAIN_TENSORS, by_rows, unusual
from grus.layers.binding import Binding, bind
from grus.layers.kernel import forwards
from grus.layers.likeness import Found
from grus.layers.path import WIDE
from grus.layers.profile import profiled
from grus.layers.states import Row, State
from grus.runtime import Forward, Forwards

_transformed = torch._C._are_functorch_transforms_active
_replaced = torch._C._len_torch_dispatch_stack
_intercepted = torch._C._is_torch_function_mode_enabled
_written_down = torch._C._get_tracing_state


class Ready(NamedTuple):
    """A call that was found; ``start`` are zeros for one without states, which nobody writes to."""

    calls: Forwards
    forward: Forward
    start: tuple[Tensor, ...]
    bound: Binding
    recorded: bool
    """Whether its derivative is."""


def layer(
    record: TorchRecord,
    names: tuple[str, ...],
    inputs: int,
    parameters: Sequence[Tensor],
    x: Tensor,
    hx: State | None,
) -> tuple[Tensor, State] | None:
    """(output, final states [1, batch, size]) of a layer for ``x`` [time, batch, input], or None
    where this is not a plain call whose arguments all fit; nothing has happened then.

    ``parameters`` are in the order of ``names``, for ``inputs`` features."""
    found = sequence(record, names, inputs, parameters, x, states(record, hx), lead=(1,))
    if found is None:
        return None
    output, final = found
    return output, final[0] if len(final) == 1 else final


def sequence(
    record: TorchRecord,
    names: tuple[str, ...],
    inputs: int,
    parameters: Sequence[Tensor],
    x: Tensor,
    given: Sequence[Tensor] | None,
    *,
    lead: tuple[int, ...] = (),
) -> tuple[Tensor, Row] | None:
    """The same for states of [*lead, batch, size], ``given`` ones or none, which are zeros; of
    ``x`` [batch, input], a step."""
    if given is None or likeness.Guards is None or _replaced_or_followed():
        return None
    found = _found(record, names, inputs)
    every = (x, *given, *parameters)
    recorded = torch.is_grad_enabled()
    key: list[Any] = [len(given), recorded, x.shape, lead]
    try:
        key += addresses.of(parameters)
    except RuntimeError:  # a fake or functional tensor has no memory
        return None
    if recorded:  # guards look at no flag that says so
        for tensor in every:
            key.append(tensor.requires_grad)
    short = tuple(key)
    call = found.get(short, every)
    if call is None:
        call = _prepare(record, names, inputs, x, tuple(given), tuple(parameters), lead)
        if call is None:
            return None
        found.keep(short, every, call)
    if call.recorded:
        return _record(call, x, given, parameters, led=bool(lead))
    return call.calls.plain(call.forward, (x, *(given or call.start)), keep=False)[:2]


def _record(
    call: Ready, x: Tensor, given: Sequence[Tensor], parameters: Sequence[Tensor], *, led: bool
) -> tuple[Tensor, Row]:
    start = call.start if not given else [s[0] for s in given] if led else given
    every = (x.unsqueeze(0) if x.dim() == 2 else x, *start, *parameters)
    output, final = function.recorded(call.bound, PLAIN, every, (call.calls, call.forward))
    return output, tuple([state.unsqueeze(0) for state in final]) if led else final


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


def states(record: TorchRecord, hx: State | None) -> Sequence[Tensor] | None:
    """The states, none where they are zeros; None for what is none, of which the long way says what
    it is not."""
    if hx is None:
        return ()
    given: Any = (hx,) if isinstance(hx, Tensor) else hx
    if not isinstance(given, (tuple, list)) or len(given) != len(record.cell.states):
        return None
    for value in given:  # a generator costs as much as a small kernel
        if not isinstance(value, Tensor):
            return None
    return given


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
    lead: tuple[int, ...],
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
    steps = x.unsqueeze(0) if x.dim() == 2 and not lead else x
    fits = steps.dim() == 3 and steps.shape[2] == inputs
    if not parameters or not plain or x.dtype not in WIDE or not fits:
        return None
    if torch.is_autocast_enabled("cpu"):  # guards tell such a call from another
        return None
    addresses.check(bound.called if given else (bound.called[0], *names), every)
    launch = forwards(bound, x.dtype)
    sizes = launch.sizes((steps, *[x] * bound.states, *parameters))
    batch = steps.shape[1]
    shapes = [(*lead, batch, sizes[a]) for a in bound.cell.shapes.states.values()]
    if given and [tuple(t.shape) for t in given] != shapes:
        return None
    rows = given or tuple(zeros(x, shape) for shape in shapes)
    if lead:
        rows = tuple(s[0] for s in rows)
    begin = () if given else rows
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in every)
    call = launch.prepare((steps, *rows, *parameters), PLAIN, keep=recorded)
    if not recorded:
        call = call._replace(states=tuple(shapes))
    return Ready(launch, call, begin, bound, recorded)


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
