"""ONNX models from strangers: the graph, and the numbers of its tensors, checked before use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from grus.dialects.files import external
from grus.dialects.files.budget import MAX_BYTES, Budget, one_line
from grus.dialects.files.contents import Array, widen_bfloat16
from grus.dialects.files.extras import missing
from grus.errors import InputError

# ONNX's number of a type -> NumPy's type, and the field for it where the bytes are not raw.
TYPES = {
    1: ("<f4", "float_data"), 11: ("<f8", "double_data"), 10: ("<f2", "int32_data"),
    16: ("<u2", "int32_data"), 7: ("<i8", "int64_data"), 6: ("<i4", "int32_data"),
    5: ("<i2", "int32_data"), 3: ("i1", "int32_data"), 2: ("u1", "int32_data"),
    9: ("?", "int32_data"), 4: ("<u2", "int32_data"), 12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
}  # fmt: skip
BFLOAT16 = 16
BITS = (10, BFLOAT16)
"""Types whose bits stand in int32_data as whole numbers."""
EXTERNAL = 1


def library() -> Any:
    """The module onnx. Raises InputError that says how to install it."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise missing(error, "onnx", "reading or writing ONNX") from None
    return onnx


def load(path: Path) -> Any:
    """The ModelProto in ``path``, without the data that it keeps in other files.

    Raises InputError for what is no ONNX model.
    """
    onnx = library()
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES} bytes")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # noqa: BLE001  protobuf's error, whose package may differ
        raise InputError(f"not a whole ONNX file: {one_line(error)}") from None
    if not model.HasField("graph") or not model.ir_version:
        raise InputError("not an ONNX model: it has no graph")
    return model


def array(tensor: Any, folder: Path, budget: Budget) -> Array:
    """The numbers of a TensorProto; ``folder`` is the model's, for data kept in another file.

    Raises InputError when they are not of the size and type that the tensor says, or out of reach.
    """
    name = one_line(tensor.name)[:80] or "a tensor"
    if tensor.data_type not in TYPES or tensor.HasField("segment"):
        raise InputError(f"{name} has the ONNX type {tensor.data_type}, which is not read")
    kind, field = TYPES[tensor.data_type]
    shape = tuple(tensor.dims)
    dtype = np.dtype(kind)
    budget.take_array(name, shape, dtype.itemsize)
    count = int(np.prod(shape, dtype=np.int64))
    if tensor.data_location == EXTERNAL:
        where = {entry.key: entry.value for entry in tensor.external_data}
        content = external.read(folder, where, count * dtype.itemsize, name)
    elif tensor.HasField("raw_data"):
        content = tensor.raw_data
    else:
        content = _listed(getattr(tensor, field), dtype, tensor.data_type in BITS, name)
    if len(content) != count * dtype.itemsize:
        raise InputError(
            f"{name} of shape {shape} needs {count * dtype.itemsize} bytes, the file has"
            f" {len(content)}"
        )
    found = np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
    return widen_bfloat16(found) if tensor.data_type == BFLOAT16 else found


def _listed(numbers: Any, dtype: np.dtype[Any], bits: bool, name: str) -> bytes:
    """The bytes of numbers that stand one by one; half floats stand there as their bits."""
    wide = np.array(numbers)
    found = wide.astype(np.uint16 if bits else dtype)
    if wide.dtype.kind in "iu" and not np.array_equal(found, wide):
        raise InputError(f"{name} holds numbers that its type does not have")
    return found.tobytes()
