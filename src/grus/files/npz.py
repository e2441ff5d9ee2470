"""NumPy's .npz: a zip of arrays, each with a header. Objects (pickles) are refused."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from grus.errors import InputError
from grus.files.archive import Archive
from grus.weight_file import Array, Budget, Contents, check_name, one_line

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# What NumPy's reader of headers raises for what is not one.
DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    TokenError,
    RecursionError,
    MemoryError,
    EOFError,
)
NUMBERS = "fiub"


def read(path: Path) -> Contents:
    """The arrays of an .npz file. Raises InputError."""
    tensors: dict[str, Array] = {}
    aside = []
    budget = Budget.of(path)
    with Archive(path, budget, ".npz file") as archive:
        for member in archive.sizes:
            if not member.endswith(".npy"):
                aside.append(one_line(member))
                continue
            name = member.removesuffix(".npy")
            check_name(name)
            tensors[name] = _array(name, archive.read(member), budget)
    if not tensors:
        raise InputError("not an .npz file: an archive without arrays (.npy)")
    return Contents("npz", tensors, aside=tuple(aside))


def _array(name: str, content: bytes, budget: Budget) -> Array:
    stream = io.BytesIO(content)
    shape, fortran, dtype = _header(name, stream)
    if dtype.hasobject or dtype.kind not in NUMBERS:
        raise InputError(
            f"{one_line(name)[:80]} holds {str(dtype)[:40]}, not numbers; Python objects are"
            " never read"
        )
    budget.take_array(name, shape, dtype.itemsize)
    begin, count = stream.tell(), math.prod(shape)
    if len(content) - begin != count * dtype.itemsize:
        raise InputError(
            f"{name} of shape {shape} needs {count * dtype.itemsize} bytes, the file has"
            f" {len(content) - begin}"
        )
    flat = np.frombuffer(content, dtype, count, begin) if count else np.zeros(0, dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")


def _header(name: str, stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header written by Python 2 is read all the same
            reader = HEADERS[npy.read_magic(stream)]
            shape, fortran, dtype = reader(stream)
    except DAMAGED as error:
        raise InputError(f"{one_line(name)[:80]} is no array: {one_line(error)}") from None
    if any(isinstance(n, bool) for n in shape):
        raise InputError(f"{one_line(name)[:80]} has the impossible shape {shape}")
    return shape, fortran, dtype


def content(tensors: Mapping[str, Array]) -> bytes:
    """The bytes of an .npz file with these arrays."""
    stream = io.BytesIO()
    write(stream, tensors)
    return stream.getvalue()


def write(stream: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write arrays as .npz. Raises InputError for an array of objects, which would be pickled."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise InputError(f"{one_line(name)[:80]} holds objects, which no .npz file is to hold")
    named: dict[str, Any] = dict(arrays)
    np.savez(stream, **named)  # NumPy 1.26 would store allow_pickle= as one more array
