"""Calls of one layer that are ready: a look-up between the module and the kernel.

A small call costs as much as the Python before it. What most are (one layer in one direction,
nothing replaced) is recognised by a few flags and by where its tensors lie; everything else takes
the way through `doors`, which gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.dialects import TorchRecord
from grus.kernels import PLAIN, Steps
from grus.kernels.backend import backend, switched
from grus.layers import addresses
from grus.layers.addresses import PLAIN_TENSORS, by_rows, unusual
from grus.layers.binding import Binding, bind
from grus.layers.function import ordinary
from grus.layers.kernel import TORCH, forwards
from grus.layers.path import WIDE
from grus.layers.profile import profiled
from grus.layers.states import Row, State
from grus.runtime import Forward, Forwards, Known

_transformed = torch._C._are_functorch_transforms_active
_replaced = torch._C._len_torch_dispatch_stack
_intercepted = torch._C._is_torch_function_mode_enabled
_written_down = torch._C._get_tracing_state


class Ready(NamedTuple):
    """A call that is known; ``start`` are zeros for one without states, which nobody writes to."""

    calls: Forwards
    forward: Forward
    start: tuple[Tensor, ...]
    bound: Binding
    recorded: bool
    """Whether its derivative is."""


class Layer:
    """What a layer's calls have in common, and those that are ready. Copies of it begin anew, since
    copied parameters lie elsewhere."""

    def __init__(self, record: TorchRecord, names: Sequence[str]) -> None:
        self.record, self.names = record, tuple(names)
        self.states = len(record.cell.states)
        self.known: Known[Ready] = Known(TORCH)

    def __deepcopy__(self, _: Any) -> Layer:
        return Layer(self.record, self.names)


def sequence(
    layer: Layer,
    inputs: int,
    parameters: Sequence[Tensor],
    x: Tensor,
    hx: State | None,
    steps: Steps = PLAIN,
    *,
    lead: tuple[int, ...] = (),
) -> tuple[Tensor, Row] | None:
    """(output, final states [*lead, batch, size]) of a layer for ``x`` [time, batch, input], or
    [batch, input], a step; None where this is not a plain call whose arguments all fit, and nothing
    has happened then.

    ``parameters`` are in the order of the names, for ``inputs`` features; ``hx`` are states of the
    shapes of the final ones, None is zeros; ``steps`` draw no masks and are not recomputed."""
    start = () if hx is None else _states(hx, layer.states)
    if start is None or TORCH.guards is None or _replaced_or_followed():
        return None
    every, recorded = (x, *start, *parameters), torch.is_grad_enabled()
    key: list[Any] = [len(start), recorded, x.shape, lead]
    if steps is not PLAIN:
        reset = steps.resets is not None and steps.reset_to
        key += (steps.reverse, steps.lengths is None, reset)
    try:
        key += map(TORCH.pointer, parameters)
    except RuntimeError:  # a fake or functional tensor has no memory
        return None
    if recorded:  # guards look at no flag that says so
        for tensor in every:
            key.append(tensor.requires_grad)
    short = tuple(key)
    call = layer.known.get(short, every)
    if call is None:
        call = _prepare(layer, inputs, x, tuple(start), tuple(parameters), steps, lead)
        if call is None:
            return None
        layer.known.keep(short, every, call)
    return _run(call, x, start, parameters, steps, led=bool(lead))


def _run(
    call: Ready,
    x: Tensor,
    start: Sequence[Tensor],
    parameters: Sequence[Tensor],
    steps: Steps,
    *,
    led: bool,
) -> tuple[Tensor, Row]:
    if not call.recorded and steps is PLAIN:
        output, final, _ = call.calls.again(call.forward, (x, *(start or call.start)), PLAIN)
        return output, final
    if not start:
        start = call.start
    elif led:
        start = [state[0] for state in start]
    if x.dim() == 2:
        x = x.unsqueeze(0)
    states: Sequence[Tensor]
    if call.recorded:
        known = call.calls, call.forward
        output, *states = ordinary(call.bound, steps, known, x, *start, *parameters)
    else:
        output, states, _ = call.calls.again(call.forward, (x, *start), steps)
    return output, tuple([state.unsqueeze(0) for state in states] if led else states)


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
        or profiled()
        or (switched() and backend() != "kernels")
    )


def _states(hx: Any, count: int) -> Sequence[Tensor] | None:
    """So many states; None for what they are not, of which the long way says it."""
    states = (hx,) if isinstance(hx, Tensor) else hx
    if not isinstance(states, (tuple, list)) or len(states) != count:
        return None
    for state in states:  # a generator costs as much as a small kernel
        if not isinstance(state, Tensor):
            return None
    return states


def _prepare(
    layer: Layer,
    inputs: int,
    x: Tensor,
    start: tuple[Tensor, ...],
    parameters: tuple[Tensor, ...],
    steps: Steps,
    lead: tuple[int, ...],
) -> Ready | None:
    """The call, if its arguments are such that the kernels take them as they are."""
    every = (x, *start, *parameters)
    plain = all(
        type(t) in PLAIN_TENSORS
        and t.dtype is x.dtype
        and addresses.is_dense(t)
        and not unusual(t)
        and by_rows(t) is t
        for t in every
    )
    whole = x.unsqueeze(0) if x.dim() == 2 and not lead else x
    fits = whole.dim() == 3 and whole.shape[2] == inputs
    if not parameters or not plain or x.dtype not in WIDE or not fits:
        return None
    # Guards tell a call under autocast from another.
    if torch.is_autocast_enabled("cpu") or backend() != "kernels":
        return None
    bound = bind(layer.record, layer.names)
    addresses.check(bound.called if start else (bound.called[0], *layer.names), every)
    calls = forwards(bound, x.dtype)
    sizes = calls.sizes((whole, *[x] * bound.states, *parameters))
    batch = whole.shape[1]
    shapes = [(*lead, batch, sizes[a]) for a in bound.cell.shapes.states.values()]
    if start and [tuple(t.shape) for t in start] != shapes:
        return None
    rows = start or tuple(zeros(x, shape[-2:]) for shape in shapes)
    if start and lead:
        rows = tuple(state[0] for state in start)
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in every)
    call = calls.prepare((whole, *rows, *parameters), steps, recorded)
    if not recorded and steps is PLAIN:
        call = call._replace(states=tuple(shapes))
    return Ready(calls, call, () if start else rows, bound, recorded)


_zeros: dict[torch.dtype, Tensor] = {}
"""States at the beginning, which nobody writes: one stretch of zeros for each dtype, as long as the
longest, whatever the number of shapes."""


def zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros of a shape, a view of those that all calls share."""
    count = math.prod(shape)
    stretch = _zeros.get(like.dtype)
    if stretch is None or stretch.numel() < count:
        with torch.inference_mode(False):
            stretch = torch.zeros(1 << max(count - 1, 0).bit_length(), dtype=like.dtype)
        _zeros[like.dtype] = stretch
    return stretch[:count].view(shape)
