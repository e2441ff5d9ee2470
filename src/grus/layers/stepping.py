"""The arguments ``lengths=`` and ``resets=``, checked, as the kernels' `Steps`."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from grus.errors import InputError
from grus.kernels.steps import PLAIN, Steps
from grus.layers.errors import KindError, ShapeError
from grus.layers.path import jit_traced

Array = np.ndarray[Any, np.dtype[Any]]
ResetTo = Literal["zero", "h0"]

Directions = tuple[Steps, Steps]
"""How the layer is stepped through forward in time, and backward."""

Axes = tuple[Literal["time", "batch"], ...]

BOTH: Directions = (PLAIN, Steps(reverse=True))


def directions(x: Tensor, lengths: Any, resets: Any, reset_to: ResetTo, axes: Axes) -> Directions:
    """Steps for ``x`` [time, batch, input], forward and backward in time.

    ``lengths`` [batch] whole numbers in 0..time; ``resets`` of bool or 0 and 1, its ``axes`` those
    of the caller's input: time, batch; batch, time; or time alone (``lengths`` then one number).
    Backward in time a state must not cross the beginning of an episode either: what is cleared
    before step t on the way forward is cleared after it on the way back.

    Raises InputError (KindError, ShapeError) for what cannot be.
    """
    if reset_to not in ("zero", "h0"):
        raise InputError(f'reset_to must be "zero" or "h0", got {reset_to!r}')
    sizes = {"time": x.shape[0], "batch": x.shape[1]}
    if torch.compiler.is_compiling() or jit_traced():  # values are not known, shapes are
        counts, begins = _traced(lengths), _traced(resets)
        if begins is not None:
            _shaped("resets", begins, sizes, axes)
            begins = begins.T if axes[0] == "batch" else begins.reshape(x.shape[0], -1)
        if counts is not None:
            _shaped("lengths", counts, sizes, ("batch",) if "batch" in axes else ())
            counts = counts.reshape(-1)
    else:
        counts = None if lengths is None else _lengths(lengths, sizes, axes)
        begins = None if resets is None else _resets(resets, sizes, axes)
    if counts is None and begins is None:
        return BOTH
    one = Steps(lengths=counts, resets=begins, reset_to=reset_to)
    return one, Steps(lengths=counts, resets=_ends(begins), reset_to=reset_to, reverse=True)


def _traced(value: Any) -> Any:
    return value if value is None or isinstance(value, Tensor) else torch.as_tensor(value)


def _ends(begins: Any) -> Any:
    """[time, batch]: the last step of each episode, from the first one of each."""
    if begins is None:
        return None
    if isinstance(begins, Tensor):
        return torch.cat([begins[1:], torch.zeros_like(begins[:1])])
    return np.concatenate([begins[1:], np.zeros_like(begins[:1])])


def _array(name: str, value: Any) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value)
    except ValueError:
        raise ShapeError(f"{name} must be an array, all rows of one length") from None


def _shaped(name: str, array: Array | Tensor, sizes: dict[str, int], axes: tuple[str, ...]) -> None:
    wanted, shape = tuple(sizes[axis] for axis in axes), tuple(array.shape)
    if shape != wanted:
        said = f"[{', '.join(axes)}] = {wanted}" if axes else "one number"
        raise ShapeError(f"{name} must be {said} like the input, got shape {shape}")


def _lengths(lengths: Any, sizes: dict[str, int], axes: Axes) -> Array | None:
    array, time = _array("lengths", lengths), sizes["time"]
    _shaped("lengths", array, sizes, ("batch",) if "batch" in axes else ())
    if array.dtype.kind not in "iu" and array.size:
        raise KindError(f"lengths must be whole numbers, got {array.dtype}")
    if array.size == 0 or array.min() == time == array.max():
        return None
    if array.min() < 0 or array.max() > time:
        raise InputError(f"lengths must lie in 0..{time}, got {array.min()}..{array.max()}")
    return array.astype(np.int64).reshape(-1)


def _resets(resets: Any, sizes: dict[str, int], axes: Axes) -> Array | None:
    array = _array("resets", resets)
    _shaped("resets", array, sizes, axes)
    if array.dtype.kind not in "biuf":
        raise KindError(f"resets must be bool, or 0 and 1, got {array.dtype}")
    found = array if array.dtype == bool else array == 1
    if found is not array and not (found | (array == 0)).all():
        raise InputError("resets must be bool, or 0 and 1")
    if not found.any():
        return None
    turned = found.T if axes[0] == "batch" else found.reshape(sizes["time"], -1)
    return cast("Array", np.ascontiguousarray(turned))
