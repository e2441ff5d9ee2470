"""PyTorch's .pt files, read and written without torch. A pickle that is more than weights is
refused; none is ever executed."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from grus.errors import InputError
from grus.files import torch_old
from grus.files.archive import Archive
from grus.files.opcodes import Machine
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
        if file.read(2 + len(torch_old.MAGIC))[2:] == torch_old.MAGIC:
            file.seek(0)
            budget = Budget.of(path)
            return _contents(*torch_old.read(file, budget))
    with Archive(path, Budget.of(path), ".pt file") as archive:
        folder = _folder(archive)
        machine = Machine(KNOWN, archive.budget, BESIDE)
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
