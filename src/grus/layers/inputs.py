"""What a layer is given: an input in any of torch's layouts, packed sequences, ``lengths=`` and
``resets=``; checked, and as the kernels' `Steps`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grus.arguments import (
    Axes,
    ResetTo,
    check_further_names,
    check_lengths,
    check_reset_to,
    check_resets,
    check_shape,
)
from grus.equations import Cell, Input, columns
from grus.errors import InputError, KindError, ShapeError
from grus.kernels import PLAIN, Steps
from grus.layers.torch_state import jit_state


def axes(dims: int, batch_first: bool) -> Axes:
    """What stands before the input's axis."""
    if dims == 2:
        return ("time",)
    return ("batch", "time") if batch_first else ("time", "batch")


def time_first(x: Tensor, weight: Tensor, size: int, batch_first: bool) -> Tensor:
    """[time, batch, input]; ``size`` is the layer's input size, ``weight`` has its dtype.

    Raises InputError for another number of axes or another dtype, ShapeError for another size.
    """
    shape = x.shape
    dims = len(shape)
    if dims not in (2, 3):
        raise InputError(f"input must be 2-D or 3-D, got {dims}-D: {tuple(shape)}")
    if shape[-1] != size:
        wanted = ", ".join([*axes(dims, batch_first), str(size)])
        raise ShapeError(f"input must be [{wanted}], got {tuple(shape)}")
    if x.dtype is not weight.dtype:
        check_dtype(x, weight)
    if dims == 2:
        return x.unsqueeze(1)
    return x.transpose(0, 1) if batch_first else x


Further = tuple[Tensor, ...]
"""The further inputs of a call, each [time, batch, size], in the order of the cell's."""


def further(
    cell: Cell,
    size: Mapping[str, int],
    x: Tensor,
    named: Mapping[str, Any],
    batch_first: bool,
) -> Further:
    """The further inputs as `Further`, from those of a call by name: laid out as ``x`` is, a number
    with an axis of its own or without. ``size`` is that of each axis.

    Raises KindError for a name that is missing or unknown, ShapeError for another shape, InputError
    for a dtype that is neither that of x nor bool.
    """
    check_further_names(cell.name, [node.name for node in cell.further], named)
    places = columns(cell, size)
    return tuple(_alike(node, places[node.name][1], x, named[node.name], batch_first)
                 for node in cell.further)  # fmt: skip


def _alike(node: Input, size: int, x: Tensor, value: Tensor, batch_first: bool) -> Tensor:
    name, lead = node.name, tuple(x.shape[:-1])
    if not isinstance(value, Tensor):
        raise KindError(f"{name} must be a Tensor, got {type(value).__name__}")
    if node.per == "number" and value.dim() == len(lead):
        value = value.unsqueeze(-1)
    if tuple(value.shape) != (*lead, size):
        raise ShapeError(f"{name} must be {(*lead, size)} beside this input, got {(*value.shape,)}")
    if value.dtype is torch.bool:
        value = value.to(x.dtype)
    if value.dtype != x.dtype:
        raise InputError(f"{name} must be {x.dtype} like the input, or bool, got {value.dtype}")
    if len(lead) == 1:
        return value.unsqueeze(1)
    return value.transpose(0, 1) if batch_first else value


def check_dtype(x: Tensor, weight: Tensor) -> None:
    """Raises InputError for another dtype than the weights', autocast aside."""
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise InputError(
            f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype})."
            f" Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
        )


Directions = tuple[Steps, Steps]
"""How the layer is stepped through forward in time, and backward."""

BOTH: Directions = (PLAIN, Steps(reverse=True))


def directions(x: Tensor, lengths: Any, resets: Any, reset_to: ResetTo, axes: Axes) -> Directions:
    """Steps for ``x`` [time, batch, input], forward and backward in time.

    ``lengths`` [batch] whole numbers in 0..time; ``resets`` of bool or 0 and 1, its ``axes`` those
    of the caller's input: time, batch; batch, time; or time alone (``lengths`` then one number).
    Backward in time a state must not cross the beginning of an episode either: what is cleared
    before step t on the way forward is cleared after it on the way back.

    Raises InputError (KindError, ShapeError) for what cannot be.
    """
    check_reset_to(reset_to)
    sizes = {"time": x.shape[0], "batch": x.shape[1]}
    rows: Axes = ("batch",) if "batch" in axes else ()
    if torch.compiler.is_compiling() or jit_state() is not None:  # values are not known, shapes are
        counts, begins = _traced(lengths), _traced(resets)
        if begins is not None:
            check_shape("resets", begins.shape, sizes, axes)
            begins = begins.T if axes[0] == "batch" else begins.reshape(x.shape[0], -1)
        if counts is not None:
            check_shape("lengths", counts.shape, sizes, rows)
            counts = counts.reshape(-1)
    else:
        counts = None if lengths is None else check_lengths(_on_cpu(lengths), sizes, rows)
        begins = None if resets is None else check_resets(_on_cpu(resets), sizes, axes)
        counts = counts if counts is not None and (counts < x.shape[0]).any() else None
        begins = begins if begins is not None and begins.any() else None
    if counts is None and begins is None:
        return BOTH
    forward = Steps(lengths=counts, resets=begins, reset_to=reset_to)
    return forward, Steps(lengths=counts, resets=_ends(begins), reset_to=reset_to, reverse=True)


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _traced(value: Any) -> Any:
    return value if value is None or isinstance(value, Tensor) else torch.as_tensor(value)


def _ends(begins: Any) -> Any:
    """[time, batch]: the last step of each episode, from the first one of each."""
    if begins is None:
        return None
    if isinstance(begins, Tensor):
        return torch.cat([begins[1:], torch.zeros_like(begins[:1])])
    return np.concatenate([begins[1:], np.zeros_like(begins[:1])])
