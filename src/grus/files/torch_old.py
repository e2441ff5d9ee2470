"""What torch.save wrote before 1.6, and still does when asked: pickles, then the numbers.

A pickle each of a magic number, the protocol, the machine, the value, and the keys of the storages;
then each storage, in that order: how many numbers it has, in eight bytes, and the numbers.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from grus.errors import InputError
from grus.files.opcodes import Global, Machine, Persistent
from grus.files.torch_pickle import BESIDE, KNOWN, STORAGES, TYPES
from grus.weight_file import Budget

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


def read(file: BinaryIO, budget: Budget) -> tuple[Any, int, Behind]:
    """The value, its instructions, and the numbers. Raises InputError."""
    budget.take(budget.file_size, "the file")
    content = file.read()
    stream = io.BytesIO(content[:MAX_HEAD])
    machine = Machine(KNOWN, budget, BESIDE)
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
