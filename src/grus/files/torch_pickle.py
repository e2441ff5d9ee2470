"""What torch.save writes, read as data: nested dictionaries of tensors over numbered storages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from grus.errors import InputError
from grus.files.archive import Archive
from grus.files.opcodes import ORDERED, Call, Global, Persistent
from grus.weight_file import MAX_AXES, Array, Budget, widen_bfloat16

# torch's name of a type of numbers -> NumPy's, and the class of its storage where it has one.
# bfloat16 is read as its bits and widened.
TYPES = {
    "float64": ("f8", "DoubleStorage"), "float32": ("f4", "FloatStorage"),
    "float16": ("f2", "HalfStorage"), "bfloat16": ("u2", "BFloat16Storage"),
    "int64": ("i8", "LongStorage"), "int32": ("i4", "IntStorage"),
    "int16": ("i2", "ShortStorage"), "int8": ("i1", "CharStorage"),
    "uint8": ("u1", "ByteStorage"), "bool": ("?", "BoolStorage"),
    "uint16": ("u2", ""), "uint32": ("u4", ""), "uint64": ("u8", ""),
}  # fmt: skip
STORAGES = {f"torch {storage}": name for name, (_, storage) in TYPES.items() if storage}
UNTYPED = "torch.storage UntypedStorage"
TENSOR, TENSOR_OF = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"
PARAMETER = "torch._utils _rebuild_parameter"
SIZE = "torch Size"
DTYPES = {f"torch {name}": name for name in TYPES}
KNOWN = frozenset({ORDERED, UNTYPED, TENSOR, TENSOR_OF, PARAMETER, SIZE, *STORAGES, *DTYPES})
"""All that a pickle of weights may name."""
BESIDE = frozenset({
    "argparse Namespace", "_codecs encode", "torch device", "numpy dtype", "numpy ndarray",
    *(f"{core} {name}" for core in ("numpy.core.multiarray", "numpy._core.multiarray")
      for name in ("scalar", "_reconstruct")),
    *(f"{place} {kind}Path" for place in ("pathlib", "pathlib._local")
      for kind in ("Posix", "Windows")),
    *(f"{place} AttributeDict" for place in ("pytorch_lightning.utilities.parsing",
      "lightning.pytorch.utilities.parsing", "lightning.fabric.utilities.data",
      "lightning_fabric.utilities.data")),
})  # fmt: skip
"""What people keep beside weights: settings, numbers of NumPy, paths. None of it is made; it is
named as left out."""
MAX_DEPTH = 32
MAX_PATH = 8192
"""Characters of a name with all that stands before it."""


@dataclass(frozen=True)
class Storage:
    """A reference to the numbers that lie in the archive as ``data/KEY``."""

    key: str
    dtype: str
    count: int
    item: int = 0
    """Bytes of one of ``count``; 0 is as many as the type has."""


def named(value: Any, most: int) -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries and lists, by their path joined with dots.

    A pickle can hold one value in many places, and a container in itself: raises InputError where
    more than ``most`` values are met, or names and nesting have no end.
    """
    waiting: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    while waiting:
        item = next(waiting[-1], None)
        if item is None:
            waiting.pop()
            continue
        name, found = item
        most -= 1
        if most < 0 or len(waiting) > MAX_DEPTH or len(name) > MAX_PATH:
            raise InputError("its pickle nests too deep, or into itself")
        inner = _inner(found)
        if inner is None:
            yield name, found
        else:
            waiting.append(_below(name, inner))


def _below(name: str, inner: Iterator[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    return ((f"{name}.{key}".lstrip("."), value) for key, value in inner)


def _inner(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """What stands in a container by its key; None for what is none."""
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) or type(value) is tuple else None


def is_tensor(value: Any) -> bool:
    """True for a call that rebuilds a tensor or a parameter."""
    return isinstance(value, Call) and value.function.name in (TENSOR, TENSOR_OF, PARAMETER)


def is_array(value: Any) -> bool:
    """True for a call that rebuilds an array of NumPy."""
    return isinstance(value, Call) and value.function.name.endswith(" _reconstruct")


class Beside(Protocol):
    """Where the numbers of storages lie: beside the pickle in an archive, or behind it."""

    @property
    def budget(self) -> Budget:
        """What may still be allocated."""

    @property
    def is_big(self) -> bool:
        """True where the first byte of a number is its greatest."""

    def size(self, key: str) -> int | None:
        """The bytes of a storage; None where there is none of that key."""

    def read(self, key: str) -> bytes | memoryview:
        """Its bytes."""


@dataclass
class Archived:
    """Numbers in a zip archive's ``data/``."""

    archive: Archive
    folder: str

    @property
    def budget(self) -> Budget:
        """The archive's."""
        return self.archive.budget

    def size(self, key: str) -> int | None:
        """The bytes of a member."""
        return self.archive.sizes.get(f"{self.folder}/data/{key}")

    def read(self, key: str) -> bytes:
        """A member."""
        return self.archive.read(f"{self.folder}/data/{key}")

    @cached_property
    def is_big(self) -> bool:
        """The order of bytes."""
        member = f"{self.folder}/byteorder"  # absent in files of PyTorch before 2.1
        said = self.archive.read(member) if member in self.archive.sizes else b"little"
        if said not in (b"little", b"big"):
            raise InputError("its byte order is neither little nor big")
        return said == b"big"


@dataclass
class Storages:
    """The numbers beside the pickle; each storage is read once."""

    beside: Beside
    read: dict[Storage, Array] = field(default_factory=dict)

    def array(self, name: str, call: Call) -> Array:
        """The tensor that ``call`` would rebuild, as an array of its own. Raises InputError."""
        call = _plain(name, call)
        try:
            reference, offset, shape, stride, *rest = call.arguments
        except ValueError:
            raise InputError(f"{name}: a tensor without storage, offset or shape") from None
        storage = _storage(name, reference)
        if call.function.name == TENSOR_OF:
            last = rest[-1] if rest else None
            told = DTYPES.get(last.name) if isinstance(last, Global) else None
            if storage.dtype != UNTYPED or told is None:
                raise InputError(f"{name}: a tensor of an unknown type")
            storage = replace(storage, item=1, dtype=told)
        elif storage.dtype == UNTYPED:
            raise InputError(f"{name}: a tensor of an unknown type")
        flat = self._numbers(name, storage)
        sizes = _sizes(name, shape), _sizes(name, stride)
        self.beside.budget.take_array(name, sizes[0], flat.itemsize)
        found = _strided(name, flat, offset, *sizes)
        return widen_bfloat16(found) if storage.dtype == "bfloat16" else found

    def _numbers(self, name: str, storage: Storage) -> Array:
        if storage not in self.read:
            kind = np.dtype(TYPES[storage.dtype][0])
            size = storage.count * (storage.item or kind.itemsize)
            if self.beside.size(storage.key) != size or size % kind.itemsize:
                raise InputError(f"{name}: its storage is not there, or not of the size it says")
            content = self.beside.read(storage.key)
            ordered = kind.newbyteorder(">" if self.beside.is_big else "<")
            self.read[storage] = np.frombuffer(content, ordered)
        return self.read[storage]


def _plain(name: str, call: Call) -> Call:
    """The call for the tensor, also where it is wrapped as a parameter."""
    if call.function.name != PARAMETER:
        return call
    inner = call.arguments[0] if call.arguments else None
    if not isinstance(inner, Call) or inner.function.name not in (TENSOR, TENSOR_OF):
        raise InputError(f"{name}: a parameter of something that is no tensor")
    return inner


def _storage(name: str, reference: Any) -> Storage:
    key = reference.key if isinstance(reference, Persistent) else None
    if isinstance(key, tuple) and len(key) == 6 and key[5] is None:
        key = key[:5]  # before 1.6: no view of another storage
    if isinstance(key, tuple) and len(key) == 5:
        kind, cls, number, place, count = key
        known = isinstance(cls, Global) and cls.name in (*STORAGES, UNTYPED)
        said = isinstance(number, str) and isinstance(place, str) and type(count) is int
        if kind == "storage" and known and said and count >= 0:
            return Storage(number, STORAGES.get(cls.name, UNTYPED), count)
    raise InputError(f"{name}: a reference to something that is no storage")


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, Call) and value.function.name == SIZE and len(value.arguments) == 1:
        value = value.arguments[0]
    fits = isinstance(value, (tuple, list)) and len(value) <= MAX_AXES
    if not fits or not all(type(n) is int and n >= 0 for n in value):
        raise InputError(f"{name}: a shape or stride that is no short tuple of whole numbers")
    return tuple(value)


def _strided(
    name: str, flat: Array, offset: Any, shape: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    last = sum((n - 1) * step for n, step in zip(shape, stride, strict=False))
    fits = type(offset) is int and offset >= 0 and len(shape) == len(stride)
    if not fits or (0 not in shape and offset + last >= flat.size):
        raise InputError(f"{name} reaches outside its storage")
    plain = flat.dtype.newbyteorder("=")
    if 0 in shape:
        return np.zeros(shape, plain)
    # The step of an axis of one may be any number; it is never taken.
    steps = [step * flat.itemsize if n > 1 else 0 for n, step in zip(shape, stride, strict=True)]
    return as_strided(flat[offset:], shape, steps, writeable=False).astype(plain, order="C")
