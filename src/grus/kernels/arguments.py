"""Checking what callers hand in: one clear sentence for what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from grus.equations import Cell
from grus.errors import InputError
from grus.kernels.steps import PLAIN, Narrow, Steps

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def check(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    h0: Array | tuple[Array, ...] | None,
) -> tuple[Array, dict[str, Array], tuple[Array, ...]]:
    """Arguments as the kernels take them: right shapes, one dtype, last axis contiguous.

    Copies only what is strided along its last axis. Raises InputError naming the argument.
    """
    x = _array("x", x, None, 3)
    if set(weights) != set(cell.families):
        raise InputError(
            f"weights must hold the families {sorted(cell.families)}, got {sorted(weights)}"
        )
    sizes = _sizes(cell, weights, x.shape[2], h0)
    for axis, size in sizes.items():
        if size < 1:
            raise InputError(f"the {axis} size must be at least 1, got {size}")
    for one, other in cell.shapes.equal:
        if sizes[one] != sizes[other]:
            raise InputError(
                f"cell {cell.name} needs {one} = {other}, got {sizes[one]} and {sizes[other]}"
            )
    checked = {
        family: _array(f"weights[{family!r}]", weights[family], x.dtype,
                       shape=cell.family_shape(family, sizes))
        for family in cell.families
    }  # fmt: skip
    shapes = [(x.shape[1], sizes[cell.shapes.states[s]]) for s in cell.states]
    if h0 is None:
        return x, checked, tuple(np.zeros(shape, x.dtype) for shape in shapes)
    given = h0 if isinstance(h0, tuple) else (h0,)
    if len(given) != len(cell.states):
        raise InputError(f"h0 must hold {len(cell.states)} states {cell.states}, got {len(given)}")
    names = [f"h0 of state {s}" if len(given) > 1 else "h0" for s in cell.states]
    start = tuple(
        _array(n, a, x.dtype, shape=s) for n, a, s in zip(names, given, shapes, strict=True)
    )
    return x, checked, start


def _sizes(
    cell: Cell, weights: Mapping[str, Array], inputs: int, h0: Array | tuple[Array, ...] | None
) -> dict[str, int]:
    """The size of each axis, from x and the first weights that have it; of a state that no weight
    tells the size of, from ``h0``."""
    found = {"input": inputs}
    for family, gates in cell.families.items():
        first, *rest = cell.family_axes(family)
        shape = np.shape(weights[family])
        if len(shape) != 1 + len(rest) or shape[0] % len(gates):
            raise InputError(
                f"weights[{family!r}] must stack {len(gates)} gates of a"
                f" {'matrix' if rest else 'vector'}, got shape {tuple(shape)}"
            )
        found.setdefault(first, shape[0] // len(gates))
        for axis, size in zip(rest, shape[1:], strict=True):
            found.setdefault(axis, size)
    given = h0 if isinstance(h0, tuple) else () if h0 is None else (h0,)
    for k, state in enumerate(cell.states):
        axis = cell.shapes.states[state]
        if axis not in found and (k >= len(given) or np.ndim(given[k]) != 2):
            raise InputError(
                f"cell {cell.name}: no weight tells the size of state {state}; give h0"
                " [batch, size]"
            )
        if axis not in found:
            found[axis] = np.shape(given[k])[1]
    return found


def check_steps(
    lengths: Array | None,
    resets: Array | None,
    reset_to: str,
    shape: tuple[int, ...],
    *,
    reverse: bool,
) -> Steps:
    """The steps of a sequence of ``shape`` [time, batch]; what changes nothing is left out.

    Raises InputError unless ``lengths`` is [batch] whole numbers in 0..T, ``resets`` [time, batch]
    of bool, or 0 and 1, and ``reset_to`` "zero" or "h0".
    """
    time, batch = shape
    if reset_to not in ("zero", "h0"):
        raise InputError(f"reset_to must be zero or h0, got {reset_to!r}")
    if lengths is not None:
        lengths = np.asarray(lengths)
        if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
            raise InputError(
                f"lengths must be {batch} whole numbers, got {lengths.dtype} of shape"
                f" {lengths.shape}"
            )
        if batch and (lengths.min() < 0 or lengths.max() > time):
            raise InputError(f"lengths must lie in 0..{time}, got {lengths.min()}..{lengths.max()}")
        lengths = None if (lengths == time).all() else lengths.astype(np.int64)
    if resets is not None:
        resets = np.asarray(resets)
        if resets.shape != (time, batch):
            raise InputError(f"resets must have shape {(time, batch)}, got {resets.shape}")
        if resets.dtype.kind not in "biuf" or not ((resets == 0) | (resets == 1)).all():
            raise InputError("resets must be bool, or 0 and 1")
        resets = resets.astype(bool) if resets.any() else None
    if lengths is None and resets is None and not reverse:
        return PLAIN
    return Steps(lengths, resets, "h0" if reset_to == "h0" else "zero", reverse)


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


def check_threads(threads: int | None) -> None:
    """Raises InputError unless ``threads`` is None or a whole number from 1 up."""
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads must be a whole number from 1 up, got {threads!r}")


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
