"""Safetensors, through the library of that name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from grus.errors import InputError
from grus.weight_file import Array, Budget, Contents, check_name, one_line, widen_bfloat16

MAX_HEADER = 16 * 2**20
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read(path: Path) -> Contents:
    """The tensors and the metadata of a .safetensors file. bfloat16 becomes float32, exactly.

    Raises InputError.
    """
    from safetensors import SafetensorError, deserialize, safe_open

    budget = Budget.of(path)
    _check_header(path, budget.file_size)
    try:
        with safe_open(path, framework="np") as file:
            metadata = {one_line(k): str(v) for k, v in (file.metadata() or {}).items()}
            for name in file.keys():  # noqa: SIM118  it is no mapping
                part = file.get_slice(name)
                check_name(name)
                budget.take_array(name, part.get_shape(), 8)
        parts = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise InputError(f"not a whole safetensors file: {one_line(error)}") from None
    known = [(name, part) for name, part in parts if part["dtype"] in DTYPES]
    unread = {n: f"it has the type {p['dtype']}" for n, p in parts if p["dtype"] not in DTYPES}
    tensors = {name: _array(part) for name, part in sorted(known)}
    return Contents("safetensors", tensors, metadata, unread=unread)


def parse(content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a file that this program itself has just written."""
    from safetensors import deserialize

    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    parts = deserialize(content)  # type: ignore[no-untyped-call]
    return {name: _array(part) for name, part in sorted(parts)}, metadata


def _check_header(path: Path, size: int) -> None:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size < 8 or header > size - 8:
        raise InputError(
            f"not a whole safetensors file: {size} bytes, the first eight of which promise a"
            f" header of {header} bytes"
        )
    if header > MAX_HEADER:
        raise InputError(f"its header has {header} bytes, the limit is {MAX_HEADER}")


def _array(part: Mapping[str, Any]) -> Array:
    dtype = np.dtype(DTYPES[part["dtype"]])
    flat = np.frombuffer(part["data"], dtype)
    found = flat.astype(dtype.newbyteorder("=")).reshape(part["shape"])
    return widen_bfloat16(found) if part["dtype"] == "BF16" else found


def content(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a .safetensors file."""
    from safetensors.numpy import save

    return save({k: np.asarray(v, order="C") for k, v in tensors.items()}, dict(metadata))
