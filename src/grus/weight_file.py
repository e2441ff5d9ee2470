"""What a weight file holds, how much it may make us allocate, and what its names may be.

Every reader asks here first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grus.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]

MAX_BYTES = 4 * 2**30
"""What the arrays of one file may take, however large the file is."""
FREE_BYTES = 64 * 2**20
MAX_RATIO = 100
"""Past `FREE_BYTES` arrays may take this many times the file's size. Weights hardly compress at
all; a file that claims more is a bomb."""
MAX_TENSORS = 20_000
MAX_AXES = 8
MAX_NAME = 1000


@dataclass
class Budget:
    """The bytes that one file may still make us allocate."""

    file_size: int
    taken: int = 0
    tensors: int = 0

    @classmethod
    def of(cls, path: Path) -> Budget:
        """The budget of the file at ``path``."""
        return cls(path.stat().st_size)

    @property
    def limit(self) -> int:
        """What may be allocated in all."""
        return min(MAX_BYTES, FREE_BYTES + MAX_RATIO * self.file_size)

    def take(self, count: int, what: str) -> None:
        """Allow ``count`` more bytes. Raises InputError when that is more than such a file may."""
        self.taken += count
        if count < 0 or self.taken > self.limit:
            raise InputError(
                f"{what} needs {count} bytes, more than a file of {self.file_size} bytes may"
                f" ask for ({self.limit} in all)"
            )

    def take_array(self, name: str, shape: Sequence[int], item: int) -> None:
        """Allow one array of ``item`` bytes an element."""
        self.tensors += 1
        if self.tensors > MAX_TENSORS:
            raise InputError(f"more than {MAX_TENSORS} tensors")
        whole = len(shape) <= MAX_AXES and all(0 <= n <= MAX_BYTES for n in shape)
        # NumPy refuses an empty array too whose other axes are past all measure.
        if not whole or (0 in shape and math.prod(n or 1 for n in shape) > MAX_BYTES):
            raise InputError(f"{name} has a shape that no tensor can have")
        self.take(math.prod(shape) * item, name)


def check_name(name: str) -> None:
    """Raise InputError for a tensor's name that climbs out of a folder or cannot be printed.

    ONNX's names are no paths and often begin with a slash; they are not held to this.
    """
    parts = name.replace("\\", "/").split("/")
    fits = 0 < len(name) <= MAX_NAME and name.isprintable()
    if not fits or ".." in parts or name.startswith(("/", "\\")):
        raise InputError(f"a tensor cannot be called {one_line(name)[:80]!r}")


def one_line(error: object) -> str:
    """A text fit for a terminal, although the file's author may have worded it."""
    return "".join(c if c.isprintable() else " " for c in str(error)[:300]).strip()


@dataclass(frozen=True)
class Contents:
    """The tensors of one file by the names the file has for them, in its order.

    ``metadata`` is plain text that the file carries; ``described`` what it says of its recurrent
    layers beside their tensors (Keras' configuration, ONNX' attributes), by the layer's path;
    ``aside`` names what is in the file and is no tensor of numbers; ``unread`` are tensors that
    are there and whose numbers cannot be had, each with the reason: a layer that has one is
    refused. ``notes`` say what was done to tensors on the way. ``configuration`` is what the file
    says of the whole model, in Keras' words.
    """

    format: str
    tensors: Mapping[str, Array]
    metadata: Mapping[str, str] = field(default_factory=dict)
    described: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    aside: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    configuration: str = ""


def widen_bfloat16(raw: Array) -> Array:
    """float32 of bfloat16 given as uint16: the same numbers, exactly."""
    return (raw.astype(np.uint32) << 16).view(np.float32)
