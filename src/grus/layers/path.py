"""Which code runs a layer: written rules, and a way to ask.

- "kernels": every cell on the CPU, in float32 and float64; float16 and bfloat16 are widened to
  float32 and the results rounded once (`doors`).
- "torch": torch's own functions for the cells that torch has, on a CUDA device (cuDNN there) and
  in ``torch.jit.trace``.
- "composite": the reference's evaluator over torch operations, for everything else: other devices
  and dtypes, other cells on a GPU, a ``torch.func`` transform or forward mode inside what is
  compiled or traced, a cell that has no weights (one whose gates are all held), and whatever asks
  for it by ``backend="composite"`` or GRUS_BACKEND=reference.

- "onnx": a node of ONNX's own, while ``torch.onnx.export`` records a model (`onnx_nodes`).

``torch.jit.trace`` and what stands on it is given torch's own module (`native.module`) or function,
else the operator of `operator`: never the composite's loop, whose number of steps would become a
constant.

A cell that the kernels cannot run is an error, never a silent change of speed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from grus.equations import Cell
from grus.errors import InputError
from grus.kernels import PLAIN, Steps
from grus.kernels.backend import backend
from grus.layers import native

Path = Literal["kernels", "composite", "torch", "onnx"]

WIDE = (torch.float32, torch.float64)
"""What the kernels run."""
NARROW = (torch.float16, torch.bfloat16)
"""What they run in float32."""

jit_state = torch._C._get_tracing_state
"""None outside of ``torch.jit.trace``."""
_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack

_Constant = TypeVar("_Constant", bound=Callable[..., str])


def constant(function: _Constant) -> _Constant:
    """What does not change while a graph is made: called then, its result becomes part of it."""
    marked: _Constant = torch.compiler.assume_constant_result(function)  # type: ignore[no-untyped-call]
    return marked


_switch = constant(backend)

exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", bool)
"""True inside ``torch.export``; torch 2.6 cannot be asked and says nothing."""


def choose(x: Tensor, asked: Path | None, cell: Cell, steps: Steps = PLAIN) -> Path:
    """The path of ``cell`` for input ``x`` stepped through by ``steps``.

    ``asked`` stands above the rules, where the cell has weights. Raises InputError for an unknown
    GRUS_BACKEND, and in ``torch.jit.trace`` where only the composite can run and was not asked for.
    """
    recorded = traced()
    if recorded and asked != "composite" and onnx_exported():
        return "onnx"
    chosen: Path = "composite"
    if not cell.families:
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


def jit_traced() -> bool:
    """True inside ``torch.jit.trace``, which ``torch.onnx.export(..., dynamo=False)`` runs."""
    return jit_state() is not None


def onnx_exported() -> bool:
    """True where ``torch.onnx.export`` (dynamo=True) records a model."""
    return torch.compiler.is_compiling() and torch.onnx.is_in_onnx_export()


def traced() -> bool:
    """True where torch writes down or replaces the operations that run: in ``torch.compile``,
    ``torch.export``, ``make_fx``, ``torch.jit.trace``, with fake tensors, in any dispatch mode."""
    return torch.compiler.is_compiling() or jit_state() is not None or _modes() > 0


def differentiated() -> bool:
    """True inside a ``torch.func`` transform, and where forward mode follows tangents."""
    transformed: bool = torch._C._are_functorch_transforms_active()
    return transformed or forward_ad._current_level >= 0
