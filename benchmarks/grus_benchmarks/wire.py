"""Messages between the benchmark and its processes: a line of JSON's size, the JSON, then arrays.

Nothing is pickled, so a peer may run in another interpreter with other versions of everything.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from typing import Any, BinaryIO

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Message = dict[str, Any]
Arrays = dict[str, Array]
SIZE = struct.Struct("<Q")


def send(file: BinaryIO, message: Message, arrays: Mapping[str, Array] | None = None) -> None:
    """Write one message, and its arrays by name, whole."""
    whole = {name: np.ascontiguousarray(value) for name, value in (arrays or {}).items()}
    kinds = {name: [value.dtype.str, value.shape] for name, value in whole.items()}
    head = json.dumps({"message": message, "arrays": kinds}).encode()
    file.write(SIZE.pack(len(head)))
    file.write(head)
    for value in whole.values():
        file.write(value.tobytes())
    file.flush()


def receive(file: BinaryIO) -> tuple[Message, Arrays]:
    """Read one message. Raises EOFError where the other side has ended."""
    head = json.loads(_exactly(file, SIZE.unpack(_exactly(file, SIZE.size))[0]))
    arrays = {}
    for name, (kind, shape) in head["arrays"].items():
        dtype = np.dtype(kind)
        content = _exactly(file, dtype.itemsize * prod(shape))
        arrays[name] = np.frombuffer(content, dtype).reshape(shape).copy()
    return head["message"], arrays


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError("the other side has ended")
    return content
