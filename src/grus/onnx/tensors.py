"""The tensors of a recurrent ONNX node: checked, and as weights by family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.arguments import check_lengths
from grus.dialects import find
from grus.dialects.packing import Packing, parse, stacked, weights
from grus.equations import Cell
from grus.errors import InputError
from grus.onnx.forms import BASES, PEEPHOLES
from grus.onnx.stored import INPUTS

Array = np.ndarray[Any, np.dtype[Any]]

RECORDS = {key: find("onnx", base) for key, base in BASES.items()}
"""The operator, and whether its candidate has an inner bias -> what its tensors hold."""
ORDER = {kind: "".join(record.order) for (kind, _), record in RECORDS.items()}
"""The blocks of W, of R and of each half of B, in the letters of the house."""
PACKINGS = {
    key: Packing((*record.tensors, parse("P", f"p.{PEEPHOLES}"))) for key, record in RECORDS.items()
}
"""The same with an LSTM's peepholes, which no dialect of weights has."""
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a node says of its tensors' shapes."""

    kind: str
    directions: int
    layout: int
    hidden: int | None


def check(shape: Shape, given: Mapping[str, Array], where: str) -> dict[str, Array]:
    """The node's inputs in one dtype, time first, shapes checked; nothing given is changed.

    Raises InputError naming the input.
    """
    names = INPUTS[shape.kind]
    for name in given:
        if name not in names:
            raise InputError(f"{where} has no input {name!r}; it has {', '.join(names)}")
    for name in names[:3]:
        if name not in given:
            raise InputError(f"{where} needs the input {name}")
    x = np.asarray(given["X"])
    if x.ndim != 3:
        raise InputError(f"{where}: X must have 3 axes, got shape {x.shape}")
    x = x.swapaxes(0, 1) if shape.layout else x
    dtype = _computed_in(x.dtype, where)
    found = {"X": x.astype(dtype, copy=False)}
    wanted = _shapes(shape, x, given, where)
    columns = np.shape(given["W"])[2:]
    if np.shape(given["W"])[:2] == wanted["W"][:2] and columns not in ((), wanted["W"][2:]):
        raise InputError(
            f"{where}: X must have {columns[0]} features a step, as W has, got {x.shape[2]}"
        )
    for name in names[1:]:
        if name in given and name != "sequence_lens":
            array = np.asarray(given[name])
            if shape.layout and name.startswith("initial"):
                array = array.swapaxes(0, 1) if array.ndim == 3 else array
            if array.dtype != np.asarray(given["X"]).dtype:
                raise InputError(
                    f"{where}: {name} must be {given['X'].dtype} like X, not {array.dtype}"
                )
            if array.shape != wanted[name]:
                raise InputError(
                    f"{where}: {name} must have shape {wanted[name]}, got {array.shape}"
                )
            found[name] = array.astype(dtype, copy=False)
    if "sequence_lens" in given:
        found["sequence_lens"] = check_lengths(
            given["sequence_lens"],
            {"time": x.shape[0], "batch": x.shape[1]},
            name=f"{where}: sequence_lens",
        )
    return found


def _shapes(
    shape: Shape, x: Array, given: Mapping[str, Array], where: str
) -> dict[str, tuple[int, ...]]:
    recurrent = np.shape(given["R"])
    if len(recurrent) != 3:
        raise InputError(f"{where}: R must have 3 axes, got shape {recurrent}")
    hidden = shape.hidden if shape.hidden is not None else recurrent[2]
    if hidden < 1 or x.shape[2] < 1:
        raise InputError(f"{where}: hidden and input sizes must be at least 1")
    rows = len(ORDER[shape.kind]) * hidden
    state = (shape.directions, x.shape[1], hidden)
    return {
        "W": (shape.directions, rows, x.shape[2]),
        "R": (shape.directions, rows, hidden),
        "B": (shape.directions, 2 * rows),
        "P": (shape.directions, len(PEEPHOLES) * hidden),
        "initial_h": state,
        "initial_c": state,
    }


def _computed_in(dtype: np.dtype[Any], where: str) -> np.dtype[Any]:
    """float32 and float64 themselves, float32 for the smaller floats of ONNX."""
    if dtype in DTYPES:
        return dtype
    if dtype.name in ("float16", "bfloat16"):
        return DTYPES[0]
    raise InputError(f"{where}: X must be a float tensor, got {dtype}")


def families(kind: str, cell: Cell, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """W, R, B and P of one direction as the cell's weights by family.

    Of a gate's two biases only the sum counts, except for the inner bias d of the cell that
    resets after the product. Without B the biases are zero.
    """
    sizes = tensors["R"].shape[1], tensors["W"].shape[1]
    single = PACKINGS[kind, "d" in cell.families].cut(tensors, sizes)
    return stacked(cell, weights(cell, single, sizes[0]))
