"""The arguments ``lengths=`` and ``resets=``, checked, as the kernels' `Steps`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from grus.arguments import (
    Axes,
    ResetTo,
    check_lengths,
    check_reset_to,
    check_resets,
    check_shape,
)
from grus.kernels import PLAIN, Steps
from grus.layers.path import jit_state

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
    one = Steps(lengths=counts, resets=begins, reset_to=reset_to)
    return one, Steps(lengths=counts, resets=_ends(begins), reset_to=reset_to, reverse=True)


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
