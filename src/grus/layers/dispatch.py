"""Which code runs a layer: written rules, and a way to ask (`choose`); and the ways there.

- "kernels": every cell on the CPU, in float32 and float64; float16 and bfloat16 are widened to
  float32 and the results rounded once (`sequence`).
- "torch": torch's own functions for the cells that torch has, on a CUDA device (cuDNN there) and
  in ``torch.jit.trace``.
- "composite": the reference's evaluator over torch operations, for everything else: other devices
  and dtypes, other cells on a GPU, a ``torch.func`` transform or forward mode inside what is
  compiled or traced, a cell that has no weights (one whose gates are all held) or reads other
  positions (`positions`), and whatever asks for it by ``backend="composite"`` or
  GRUS_BACKEND=reference.
- "onnx": a node of ONNX's own, while ``torch.onnx.export`` records a model (`onnx_nodes`).

``torch.jit.trace`` and what stands on it is given torch's own module (`native.module`) or function,
else our operator (`torch_operator`): never the composite's loop, whose number of steps would become
a constant.

A cell that the kernels cannot run is an error, never a silent change of speed.

A call that is compiled, exported or traced goes through an operator of torch's dispatcher, an
eager one and every ``torch.func`` transform through autograd functions (`function`): neither serves
both. A small call costs as much as the Python before it: what most are (one layer in one
direction, nothing replaced) is recognised by a few flags and by where its tensors lie, and goes to
the kernel by one look-up (`ready`), which gives the same bits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.dialects import TorchRecord
from grus.equations import CELLS, Cell
from grus.errors import InputError, MemoryKindError
from grus.kernels import PLAIN, Steps
from grus.kernels.backend import backend, switched
from grus.layers import composite, function, kernel_calls, native, onnx_nodes, torch_operator
from grus.layers.function import ordinary
from grus.layers.kernel_calls import PLAIN_TENSORS, TORCH, by_rows, forwards, unusual
from grus.layers.parameters import Binding, bind
from grus.layers.states import Row, State
from grus.layers.torch_state import (
    NARROW,
    WIDE,
    constant,
    differentiated,
    jit_traced,
    onnx_exported,
    profiled,
    shown,
    traced,
)
from grus.runtime import Forward, Forwards, Known

Path = Literal["kernels", "composite", "torch", "onnx"]

_switch = constant(backend)


def choose(x: Tensor, asked: Path | None, cell: Cell, steps: Steps = PLAIN) -> Path:
    """The path of ``cell`` for input ``x`` stepped through by ``steps``.

    ``asked`` stands above the rules, where the cell has weights. Raises InputError for an unknown
    GRUS_BACKEND, and in ``torch.jit.trace`` where only the composite can run and was not asked for.
    """
    recorded = traced()
    if recorded and asked != "composite" and onnx_exported():
        return "onnx"
    chosen: Path = "composite"
    if not cell.families or cell.gathers:
        pass
    elif recorded and asked != "composite" and jit_traced() and native.has(cell, steps):
        chosen = "torch"
    elif asked is not None:
        chosen = asked
    elif x.is_cpu and not (recorded and differentiated()):
        runs = x.dtype in WIDE or x.dtype in NARROW
        chosen = "kernels" if runs and _switch() == "kernels" else "composite"
    elif x.is_cuda and not recorded and not differentiated() and native.has(cell, steps):
        chosen = "torch"
    if recorded and jit_traced():
        _check_trace(chosen, asked)
    return chosen


def _check_trace(chosen: Path, asked: Path | None) -> None:
    if chosen != "composite":
        if chosen == "kernels" and torch.onnx.is_in_onnx_export():
            raise InputError(
                "torch.onnx.export(..., dynamo=False) has no operator for this cell, or for"
                " lengths= and resets=: export with dynamo=True, which writes them"
            )
        return
    if asked is None:
        raise InputError(
            "torch.jit.trace would keep this call's number of steps as a constant: this cell, dtype"
            ' or device runs step by step; with backend="composite" it does so knowingly'
        )
    warnings.warn(
        "the number of steps is a constant of this trace, which is wrong for any other number",
        torch.jit._trace.TracerWarning,
        stacklevel=2,
    )


def sequence(
    record: TorchRecord,
    x: Tensor,
    start: Row,
    named: dict[str, Tensor],
    steps: Steps = PLAIN,
    asked: Path | None = None,
    *,
    one_step: bool = False,
) -> tuple[Tensor, Row]:
    """One layer over ``x`` [time, batch, input]: (output, final states).

    ``start`` holds the initial states, each [batch, size], ``named`` the layer's parameters under
    torch's names; ``asked`` is a path, None for the rules of `path`. On the kernels, parameters
    in float16 or bfloat16 are widened to float32 with everything else, the sequence runs, and
    each result is rounded once, to the dtype of x or of the initial state. Under autocast the
    kernels run in the parameters' dtype, too: they are not slower in it.

    Raises InputError where dtypes or devices do not fit together.
    """
    path = choose(x, asked, record.cell, steps)
    if path in ("kernels", "onnx"):
        try:
            mixed = torch.is_autocast_enabled("cpu")
            if not mixed and x.dtype in WIDE and kernel_calls.usual((x, *start, *named.values())):
                return _kernels(path, record, x, start, named, steps)
            output, final = _converted(path, record, x, start, named, steps)
            by_steps = one_step or steps.lengths is not None  # as torch runs what is packed
            return autocast(record, output, final, start, by_steps) if mixed else (output, final)
        except MemoryKindError:
            if asked == "kernels":
                raise
    if path == "torch":
        return native.sequence(record, x, start, named, steps)
    return composite.sequence(record.cell, composite.families(record, named), x, start, steps)


ROUNDED = [CELLS[name] for name in ("rnn", "rnn_relu", "lstm")]
"""What torch's layers of these cells give is autocast's dtype, whatever the state's."""
PROJECTED = CELLS["lstm_projected"]


def autocast(
    record: TorchRecord, output: Tensor, final: Row, start: Row, by_steps: bool = False
) -> tuple[Tensor, Row]:
    """Results in torch's dtypes under autocast on the CPU (torch 2.13).

    Those of a GRU are added to the state before; so is a step of ``nn.LSTMCell``, an ``nn.LSTM``
    over float16 or packed rows, and of an ``nn.LSTM`` with a projection the cell's state alone.
    Autocast leaves float64 alone.
    """
    if output.dtype is torch.float64:
        return output, final
    narrow = torch.get_autocast_dtype("cpu")
    wide = torch.promote_types(narrow, start[-1].dtype)
    if record.cell == PROJECTED:
        return output.to(narrow), (final[0].to(narrow), final[1].to(wide))
    added = record.cell == ROUNDED[2] and (by_steps or output.dtype is torch.float16)
    dtype = wide if added or record.cell not in ROUNDED else narrow
    return output.to(dtype), tuple(state.to(dtype) for state in final)


def _kernels(
    path: Path, record: TorchRecord, x: Tensor, start: Row, named: dict[str, Tensor], steps: Steps
) -> tuple[Tensor, Row]:
    if traced():
        if path == "onnx":
            return onnx_nodes.sequence(record, x, start, named, steps)
        return torch_operator.sequence(record, x, start, named, steps)
    if profiled():
        with shown("forward", record.cell, x, start):
            return function.sequence(record, x, start, named, steps)
    return function.sequence(record, x, start, named, steps)


def _converted(
    path: Path, record: TorchRecord, x: Tensor, start: Row, named: dict[str, Tensor], steps: Steps
) -> tuple[Tensor, Row]:
    """Run in the dtype of the parameters, or float32 where they are narrower."""
    kind, names = next(iter(named.values())).dtype, _names(record, named)
    mixed = torch.is_autocast_enabled("cpu") and kind is not torch.float64
    tensors = (x, *start, *named.values())
    kernel_calls.check(names, tensors, traced=traced())
    for name, tensor in zip(names, tensors, strict=True):
        mixes = mixed and name not in named and tensor.dtype in (torch.float32, *NARROW)
        if not mixes and tensor.dtype != kind:
            raise InputError(
                f"{name} must be {kind} like the parameters, got {tensor.dtype};"
                " only autocast mixes dtypes"
            )
    dtype = torch.float32 if kind in NARROW else kind
    wide = {name: tensor.to(dtype) for name, tensor in named.items()}
    rows = tuple(s.to(dtype) for s in start)
    output, final = _kernels(path, record, x.to(dtype), rows, wide, steps)
    states = tuple(f.to(s.dtype) for f, s in zip(final, start, strict=True))
    return output.to(x.dtype), states


def _names(record: TorchRecord, named: dict[str, Tensor]) -> tuple[str, ...]:
    # As `Binding.called`, which is kept behind a cache that Dynamo warns of.
    return ("input", *(f"hx of state {s}" for s in record.cell.states), *named)


_transformed = torch._C._are_functorch_transforms_active
_replaced = torch._C._len_torch_dispatch_stack
_intercepted = torch._C._is_torch_function_mode_enabled
_written_down = torch._C._get_tracing_state


class ReadyCall(NamedTuple):
    """A call that is known; ``start`` are zeros for one without states, which nobody writes to."""

    calls: Forwards
    forward: Forward
    start: tuple[Tensor, ...]
    bound: Binding
    recorded: bool
    """Whether its derivative is."""


class LayerCalls:
    """What a layer's calls have in common, and those that are ready. Copies of it begin anew, since
    copied parameters lie elsewhere."""

    def __init__(self, record: TorchRecord, names: Sequence[str]) -> None:
        self.record, self.names = record, tuple(names)
        self.states = len(record.cell.states)
        self.known: Known[ReadyCall] = Known(TORCH)

    def __deepcopy__(self, _: Any) -> LayerCalls:
        return LayerCalls(self.record, self.names)


def ready(
    layer: LayerCalls,
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
    call: ReadyCall,
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
    layer: LayerCalls,
    inputs: int,
    x: Tensor,
    start: tuple[Tensor, ...],
    parameters: tuple[Tensor, ...],
    steps: Steps,
    lead: tuple[int, ...],
) -> ReadyCall | None:
    """The call, if its arguments are such that the kernels take them as they are."""
    every = (x, *start, *parameters)
    plain = all(
        type(t) in PLAIN_TENSORS
        and t.dtype is x.dtype
        and kernel_calls.is_dense(t)
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
    kernel_calls.check(bound.called if start else (bound.called[0], *layer.names), every)
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
    return ReadyCall(calls, call, () if start else rows, bound, recorded)


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
