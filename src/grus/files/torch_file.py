"""PyTorch's .pt files, read and written without torch. A pickle that is more than weights is
refused; none is ever executed."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from grus.errors import InputError
from grus.files.archive import Archive
from grus.files.opcodes import Global, Persistent, PickleMachine
from grus.files.torch_pickle import (
    BESIDE,
    KNOWN,
    STORAGES,
    TENSOR,
    TYPES,
    Archived,
    Beside,
    Storages,
    is_array,
    is_tensor,
    named,
)
from grus.weight_file import Array, Budget, Contents, check_name, one_line

MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes, behind the protocol's two."""
MAX_HEAD = 64 * 2**20
"""Bytes in which the pickles must end."""


@dataclass
class Behind:
    """Numbers that stand behind the pickles: their places by the storage's key."""

    content: bytes
    places: dict[str, tuple[int, int]]
    budget: Budget
    is_big: bool

    def size(self, key: str) -> int | None:
        """The bytes of a storage."""
        place = self.places.get(key)
        return None if place is None else place[1]

    def read(self, key: str) -> memoryview:
        """Its bytes."""
        begin, size = self.places[key]
        return memoryview(self.content)[begin : begin + size]


def read_old(file: BinaryIO, budget: Budget) -> tuple[Any, int, Behind]:
    """The value, its instructions, and the numbers. Raises InputError."""
    budget.take(budget.file_size, "the file")
    content = file.read()
    stream = io.BytesIO(content[:MAX_HEAD])
    machine = PickleMachine(KNOWN, budget, BESIDE)
    _, protocol, about = machine.run(stream), machine.run(stream), machine.run(stream)
    if protocol != 1001 or not isinstance(about, dict):
        raise InputError("written by torch.save before 1.6, of a version that is not read")
    value = machine.run(stream)
    keys = machine.run(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InputError("its storages are not listed")
    kinds = _kinds(machine.referred)
    places, at = {}, stream.tell()
    for key in keys:
        count = int.from_bytes(content[at : at + 8], "little")
        size = count * kinds.get(key, 0)
        places[key] = (at + 8, size)
        at += 8 + size
        if key not in kinds or at > len(content):
            raise InputError("its storages are cut short, or of an unknown type")
    return (
        value,
        machine.count,
        Behind(content, places, budget, about.get("little_endian") is False),
    )


def _kinds(referred: list[Persistent]) -> dict[str, int]:
    """The bytes of a number of each storage, by its key."""
    found = {}
    for one in referred:
        key = one.key
        if isinstance(key, tuple) and len(key) > 2 and isinstance(key[2], str):
            name = key[1].name if isinstance(key[1], Global) else ""
            if name in STORAGES:
                found[key[2]] = np.dtype(TYPES[STORAGES[name]][0]).itemsize
    return found


PICKLE = "data.pkl"
MAX_PICKLE = 64 * 2**20
FOLDER = "weights"
ALONE = "value"
"""What a file that holds no dictionary is said to hold."""
_WRITTEN = {np.dtype(TYPES[t][0]): s for s, t in STORAGES.items() if t != "bfloat16"}


def read(path: Path) -> Contents:
    """The tensors of a .pt file by their path in its dictionaries. bfloat16 becomes float32.

    Raises InputError, for a file that is anything but plain weights too.
    """
    with path.open("rb") as file:
        if file.read(2 + len(MAGIC))[2:] == MAGIC:
            file.seek(0)
            budget = Budget.of(path)
            return _contents(*read_old(file, budget))
    with Archive(path, Budget.of(path), ".pt file") as archive:
        folder = _folder(archive)
        machine = PickleMachine(KNOWN, archive.budget, BESIDE)
        value = machine.run(archive.read(f"{folder}/{PICKLE}"))
        return _contents(value, machine.count, Archived(archive, folder))


def _contents(value: Any, count: int, beside: Beside) -> Contents:
    """The tensors of the unpickled value, whose pickle had ``count`` instructions."""
    storages = Storages(beside)
    tensors: dict[str, Array] = {}
    aside, unread = [], {}
    for path_in, leaf in named(value, count + 1):
        name = path_in or ALONE
        if is_array(leaf):
            unread[one_line(name)] = "it is an array of NumPy; save torch tensors"
        elif not is_tensor(leaf):
            aside.append(one_line(name)[:80])
        elif name in tensors:
            raise InputError(f"two tensors are called {one_line(name)[:80]!r}")
        else:
            check_name(name)
            tensors[name] = storages.array(name, leaf)
    return Contents("pt", tensors, aside=tuple(aside), unread=unread)


def _folder(archive: Archive) -> str:
    """The folder that all members of torch's archives stand in."""
    found = [n.removesuffix(f"/{PICKLE}") for n in archive.sizes if n.endswith(f"/{PICKLE}")]
    if len(found) != 1:
        raise InputError(f"not a .pt file: an archive with {len(found)} {PICKLE}")
    (folder,) = found
    if any(n.startswith((f"{folder}/code/", f"{folder}/constants.pkl")) for n in archive.sizes):
        raise InputError(
            "a TorchScript program, not weights; save its weights alone:"
            " torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    if archive.sizes[f"{folder}/{PICKLE}"] > MAX_PICKLE:
        raise InputError(f"its pickle is larger than {MAX_PICKLE} bytes")
    return folder


def content(tensors: Mapping[str, Array]) -> bytes:
    """The bytes of a .pt file with these tensors, as torch.save writes a state_dict."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        members = {PICKLE: _pickle(tensors), "byteorder": b"little", "version": b"3\n"}
        for number, value in enumerate(tensors.values()):
            plain = value.dtype.newbyteorder("<")
            members[f"data/{number}"] = np.ascontiguousarray(value, plain).tobytes()
        for name, data in members.items():
            # A date of its own, so that one model gives one file, byte for byte.
            archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}"), data)
    return stream.getvalue()


def _pickle(tensors: Mapping[str, Array]) -> bytes:
    """An OrderedDict of `_rebuild_tensor_v2` calls, in the opcodes of protocol 2."""
    ordered = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    parts = [pickle.PROTO, b"\x02", ordered, pickle.MARK]
    for number, (name, value) in enumerate(tensors.items()):
        storage = _WRITTEN[np.dtype(value.dtype.newbyteorder("="))]
        parts += [
            _text(name), _global(TENSOR), pickle.MARK,
            pickle.MARK, _text("storage"), _global(storage), _text(str(number)),
            _text("cpu"), _number(value.size), pickle.TUPLE, pickle.BINPERSID,
            _number(0), _numbers(value.shape), _numbers(_strides(value.shape)),
            pickle.NEWFALSE, ordered, pickle.TUPLE, pickle.REDUCE,
        ]  # fmt: skip
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])


def _global(name: str) -> bytes:
    return pickle.GLOBAL + "\n".join(name.split()).encode() + b"\n"


def _text(text: str) -> bytes:
    data = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _number(number: int) -> bytes:
    data = pickle.encode_long(number)
    return pickle.LONG1 + bytes([len(data)]) + data


def _numbers(numbers: tuple[int, ...]) -> bytes:
    return pickle.MARK + b"".join(map(_number, numbers)) + pickle.TUPLE


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a dense tensor, in elements."""
    return tuple(int(np.prod(shape[k + 1 :], dtype=np.int64)) for k in range(len(shape)))
