"""Checking what callers hand in: one clear sentence for what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, get_args

import numpy as np

from grus.arguments import (
    ResetTo,
    check_further_names,
    check_lengths,
    check_reset_to,
    check_resets,
    check_states,
)
from grus.equations import Cell, columns, sizes
from grus.errors import InputError
from grus.kernels import PLAIN, Array, Narrow, Steps, make_plan

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def check(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None,
    threads: int | None = None,
    *,
    planned: bool = False,
) -> tuple[Array, dict[str, Array], tuple[Array, ...]]:
    """Arguments as the kernels take them: right shapes, one dtype, last axis contiguous.

    Copies only what is strided along its last axis. Raises InputError naming the argument, and with
    ``planned`` before anything else for a cell that the kernels cannot run.
    """
    if planned:
        make_plan(cell)
    x = _array("x", x, None, 3)
    checked = {
        family: _array(f"weights[{family!r}]", array, x.dtype) for family, array in weights.items()
    }
    size = sizes(cell, checked, x.shape[2], h0, row=True)
    for axis, count in size.items():
        if count < 1:
            raise InputError(f"the {axis} size must be at least 1, got {count}")
    shapes = [(x.shape[1], size[cell.shapes.states[s]]) for s in cell.states]
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads must be a whole number from 1 up, got {threads!r}")
    if h0 is None:
        return x, checked, tuple(np.zeros(shape, x.dtype) for shape in shapes)
    states = check_states(cell.states, h0)
    names = [f"h0 of state {s}" if len(states) > 1 else "h0" for s in cell.states]
    start = tuple(
        _array(n, a, x.dtype, shape=s) for n, a, s in zip(names, states, shapes, strict=True)
    )
    return x, checked, start


def row(cell: Cell, weights: Mapping[str, Array], x: Array, further: Mapping[str, Array]) -> Array:
    """x [time, batch, input] and the further inputs behind it, as the kernels read them; each is
    [time, batch, its size], a number [time, batch] or with a last axis of 1, bool or x's dtype.

    Raises InputError naming the one that is missing, unknown or cannot be.
    """
    check_further_names(cell.name, [node.name for node in cell.further], further)
    if not further:
        return x
    x = _array("x", x, None, 3)
    places = columns(cell, sizes(cell, weights, x.shape[2]))
    parts = [x]
    for node in cell.further:
        value, shape = further[node.name], (*x.shape[:2], places[node.name][1])
        if isinstance(value, np.ndarray):
            value = value.astype(x.dtype) if value.dtype == bool else value
            value = value[..., None] if node.per == "number" and value.ndim == 2 else value
        parts.append(_array(node.name, value, x.dtype, shape=shape))
    return np.concatenate(parts, axis=2)


class Options(TypedDict, total=False):
    """How a sequence is stepped through; `grus.run` says what each does."""

    lengths: Array | None
    resets: Array | None
    reset_to: ResetTo
    reverse: bool


def check_steps(
    shape: tuple[int, ...],
    *,
    lengths: Array | None = None,
    resets: Array | None = None,
    reset_to: str = "zero",
    reverse: bool = False,
) -> Steps:
    """The steps of a sequence of ``shape`` [time, batch]; what changes nothing is left out.

    Raises InputError unless ``lengths`` is [batch] whole numbers in 0..T, ``resets`` [time, batch]
    of bool, or 0 and 1, and ``reset_to`` "zero" or "h0".
    """
    whole = dict(zip(("time", "batch"), shape, strict=True))
    base = check_reset_to(reset_to)
    if lengths is not None:
        lengths = check_lengths(lengths, whole)
        lengths = None if (lengths == whole["time"]).all() else lengths
    if resets is not None:
        resets = check_resets(resets, whole)
        resets = resets if resets.any() else None
    if lengths is None and resets is None and not reverse:
        return PLAIN
    return Steps(lengths, resets, base, reverse)


def check_narrow(narrow: str, dtype: np.dtype[Any]) -> None:
    """Raises InputError unless products of this dtype can have this ``narrow`` here."""
    if narrow not in get_args(Narrow):
        raise InputError(f'narrow must be "", "weights" or "products", got {narrow!r}')
    if narrow and dtype != np.float32:
        raise InputError(f"narrow={narrow!r} is for float32, got {dtype}")
    if narrow == "products":
        from grus.kernels.jit import host_features

        if not host_features().get("avx512bf16"):
            raise InputError(
                'narrow="products" needs a processor with AVX512_BF16; "weights" runs on any'
            )


def _array(
    name: str,
    value: Array,
    dtype: np.dtype[Any] | None,
    ndim: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> Array:
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} must be a NumPy array, got {type(value).__name__}")
    if value.dtype not in (DTYPES if dtype is None else (dtype,)):
        want = "float32 or float64" if dtype is None else f"{dtype} like x"
        raise InputError(f"{name} must be {want}, got {value.dtype}")
    if ndim is not None and value.ndim != ndim:
        raise InputError(f"{name} must be [time, batch, input], got shape {value.shape}")
    if shape is not None and value.shape != shape:
        raise InputError(f"{name} must have shape {shape}, got {value.shape}")
    if value.shape[-1] > 1 and value.strides[-1] != value.itemsize:
        return np.ascontiguousarray(value)
    return value
