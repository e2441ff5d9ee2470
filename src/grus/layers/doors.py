"""The ways into one layer's sequence: which path runs it, through which of torch's doors, in which
arithmetic.

An eager call and every ``torch.func`` transform go through autograd functions (`function`), what
is compiled, exported or traced through operators of the dispatcher (`operator`): neither serves
both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.equations import CELLS
from grus.errors import InputError, MemoryKindError
from grus.kernels import PLAIN, Steps
from grus.layers import addresses, composite, function, native, onnx_nodes, operator
from grus.layers.path import NARROW, WIDE, Path, choose, traced
from grus.layers.profile import profiled, shown

Row = tuple[Tensor, ...]


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
            if not mixed and x.dtype in WIDE and addresses.usual((x, *start, *named.values())):
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
        return operator.sequence(record, x, start, named, steps)
    if profiled():
        with shown("forward", record.cell, x, start):
            return function.sequence(record, x, start, named, steps)
    return function.sequence(record, x, start, named, steps)


def _converted(
    path: Path, record: TorchRecord, x: Tensor, start: Row, named: dict[str, Tensor], steps: Steps
) -> tuple[Tensor, Row]:
    """Run in the dtype of the parameters, or float32 where they are narrower."""
    own, names = next(iter(named.values())).dtype, _names(record, named)
    mixed = torch.is_autocast_enabled("cpu") and own is not torch.float64
    tensors = (x, *start, *named.values())
    addresses.check(names, tensors, traced=traced())
    for name, tensor in zip(names, tensors, strict=True):
        given = mixed and name not in named and tensor.dtype in (torch.float32, *NARROW)
        if not given and tensor.dtype != own:
            raise InputError(
                f"{name} must be {own} like the parameters, got {tensor.dtype};"
                " only autocast mixes dtypes"
            )
    dtype = torch.float32 if own in NARROW else own
    wide = {name: tensor.to(dtype) for name, tensor in named.items()}
    rows = tuple(s.to(dtype) for s in start)
    output, final = _kernels(path, record, x.to(dtype), rows, wide, steps)
    states = tuple(f.to(s.dtype) for f, s in zip(final, start, strict=True))
    return output.to(x.dtype), states


def _names(record: TorchRecord, named: dict[str, Tensor]) -> tuple[str, ...]:
    # As `Binding.called`, which is kept behind a cache that Dynamo warns of.
    return ("input", *(f"hx of state {s}" for s in record.cell.states), *named)
