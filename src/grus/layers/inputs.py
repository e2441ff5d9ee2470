"""The input of a layer, in any of torch's layouts: checked, and turned to [time, batch, input]."""

from __future__ import annotations

import torch
from torch import Tensor

from grus.arguments import Axes
from grus.errors import InputError, ShapeError


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


def check_packed(data: Tensor, weight: Tensor, size: int) -> None:
    """The same of a packed sequence's data, [elements, input]."""
    if data.dim() != 2:
        raise ShapeError(f"input must have 2 dimensions, got {data.dim()}: packed data")
    if data.shape[1] != size:
        raise ShapeError(f"packed data must be [elements, {size}], got {tuple(data.shape)}")
    check_dtype(data, weight)


def check_dtype(x: Tensor, weight: Tensor) -> None:
    """Raises InputError for another dtype than the weights', autocast aside."""
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise InputError(
            f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype})."
            f" Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
        )
