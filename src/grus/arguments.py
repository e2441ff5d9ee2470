"""What may be said of a sequence beside its numbers, checked the same way at every door."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from grus.errors import InputError, KindError, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
ResetTo = Literal["zero", "h0"]
Axes = tuple[Literal["time", "batch"], ...]


def check_shape(name: str, shape: Sequence[int], sizes: Mapping[str, int], axes: Axes) -> None:
    """Raise ShapeError unless ``shape`` is the sizes of ``axes``; no axes are one number."""
    wanted = tuple(map(sizes.__getitem__, axes))
    if tuple(shape) != wanted:
        expected = f"[{', '.join(axes)}] = {wanted}" if axes else "one number"
        raise ShapeError(f"{name} must be {expected} like the input, got shape {tuple(shape)}")


def check_lengths(
    lengths: Any, sizes: Mapping[str, int], axes: Axes = ("batch",), name: str = "lengths"
) -> Array:
    """Lengths as int64 [batch]: whole numbers in 0..time. ``sizes`` are those of time and batch.

    Raises InputError (ShapeError, KindError) naming ``name``.
    """
    array, time = _array(name, lengths), sizes["time"]
    check_shape(name, array.shape, sizes, axes)
    if array.dtype.kind not in "iu" and array.size:
        raise KindError(f"{name} must be whole numbers, got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() > time):
        raise InputError(f"{name} must lie in 0..{time}, got {array.min()}..{array.max()}")
    return array.astype(np.int64).reshape(-1)


def check_resets(resets: Any, sizes: Mapping[str, int], axes: Axes = ("time", "batch")) -> Array:
    """Resets as bool [time, batch], from bool or 0 and 1 with ``axes``: time, batch; batch, time;
    or time alone.

    Raises InputError (ShapeError, KindError).
    """
    array = _array("resets", resets)
    check_shape("resets", array.shape, sizes, axes)
    if array.dtype.kind not in "biuf":
        raise KindError(f"resets must be bool, or 0 and 1, got {array.dtype}")
    begins = array if array.dtype == bool else array == 1
    if begins is not array and not (begins | (array == 0)).all():
        raise InputError("resets must be bool, or 0 and 1")
    turned = begins.T if axes[0] == "batch" else begins.reshape(sizes["time"], sizes["batch"])
    return cast("Array", np.ascontiguousarray(turned))


def check_reset_to(reset_to: str) -> ResetTo:
    """Raise InputError unless it is "zero" or "h0"."""
    if reset_to not in ("zero", "h0"):
        raise InputError(f'reset_to must be "zero" or "h0", got {reset_to!r}')
    return cast("ResetTo", reset_to)


def check_states(names: Sequence[str], h0: Any) -> tuple[Any, ...]:
    """The initial states as a tuple, one for each of ``names``; InputError for another number."""
    states = h0 if isinstance(h0, tuple) else (h0,)
    if len(states) != len(names):
        raise InputError(
            f"h0 must hold {len(names)} states ({', '.join(names)}), got {len(states)}"
        )
    return states


def check_graph(
    name: str, shapes: Sequence[Sequence[int]], wanted: int, positions: Sequence[int]
) -> None:
    """Raise InputError unless there are the matrices that cell ``name`` reads, or more, each with
    a row and a column for every position; a cell that reads none is given none."""
    if wanted and not shapes:
        raise InputError(
            f"cell {name} reads a graph: give graph=, its matrix [positions, positions] or a list"
            f" of {wanted}"
        )
    if shapes and not wanted:
        raise InputError(f"cell {name} reads no graph, got graph=")
    if len(shapes) < wanted:
        raise InputError(f"cell {name} reads {wanted} matrices of a graph, got {len(shapes)}")
    for k, shape in enumerate(shapes):
        if tuple(shape) != (*positions, *positions):
            size = " x ".join(map(str, shape)) or "one number"
            raise ShapeError(
                f"graph: matrix {k} must have a row and a column for each of the"
                f" {positions[0]} positions, got {size}"
            )


def _array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError:
        raise ShapeError(f"{name} must be an array, all rows of one length") from None


def check_further_names(cell: str, reads: Collection[str], names: Collection[str]) -> None:
    """The further inputs that a call is handed are those that the cell reads; else KindError."""
    if set(names) != set(reads):
        raise KindError(
            f"cell {cell} reads {', '.join(reads) or 'x alone'} at each step beside x, got"
            f" {', '.join(names) or 'none'}"
        )
