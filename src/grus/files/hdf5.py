"""HDF5 files from strangers, walked without following any link that leads elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from grus.errors import InputError, needed_for
from grus.weight_file import Array, Budget, check_name, one_line

if TYPE_CHECKING:
    from pathlib import Path

LINK = " (a link)"
MAX_DEPTH = 32
MAX_OBJECTS = 200_000
MAX_TEXT = 16 * 2**20
MAX_CHUNK = 256 * 2**20
# deflate, shuffle, fletcher32: what Keras can write. Other filters are plug-ins, which are code.
FILTERS = (1, 2, 3)
TEXTS = ("name", "model_config", "keras_version", "backend")
"""The attributes that are read; each is one text."""
# What h5py raises for damaged files, as tests with flipped bytes have shown.
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


def library() -> Any:
    """The module h5py. Raises InputError that says how to install it."""
    with needed_for("reading or writing HDF5"):
        import h5py
    return h5py


class Hdf5:
    """An HDF5 file, read whole when this is made.

    ``tensors``: datasets of numbers by their path; ``texts``: path of a group -> its attributes
    `TEXTS`; ``aside``: what is neither. Raises InputError for a file that is damaged, leads out
    of itself, or asks for more than ``budget``.
    """

    def __init__(self, source: Path | BinaryIO, budget: Budget) -> None:
        self._h5py = library()
        self._seen: set[int] = set()
        self.budget = budget
        self.tensors: dict[str, Array] = {}
        self.texts: dict[str, dict[str, str]] = {}
        self.aside: list[str] = []
        try:
            with self._h5py.File(source, "r") as file:
                self._texts("", file)
                self._group("", file, 0)
        except InputError:
            raise
        except DAMAGED as error:
            raise InputError(f"not a whole HDF5 file: {one_line(error)}") from None

    def _group(self, path: str, group: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise InputError(f"{one_line(path)[:80]} nests too deep")
        for name in group:
            at = f"{path}/{name}".lstrip("/")
            shown = one_line(at)[:80]
            link = group.get(name, getlink=True)
            if isinstance(link, self._h5py.ExternalLink):
                raise InputError(f"{shown} is a link out of the file, which is never followed")
            if not isinstance(link, self._h5py.HardLink):
                self.aside.append(f"{shown}{LINK}")
                continue
            found = group[name]
            if self._is_known(found):
                raise InputError(f"{shown} stands in the file twice, or in itself")
            self._texts(at, found)
            if isinstance(found, self._h5py.Group):
                self._group(at, found, depth + 1)
            elif isinstance(found, self._h5py.Dataset):
                self._dataset(at, found)
            else:
                self.aside.append(f"{shown} (no numbers)")

    def _is_known(self, found: Any) -> bool:
        address = self._h5py.h5o.get_info(found.id).addr
        if address in self._seen or len(self._seen) > MAX_OBJECTS:
            return True
        self._seen.add(address)
        return False

    def _dataset(self, path: str, found: Any) -> None:
        shown = one_line(path)[:80]
        if found.is_virtual or found.external:
            raise InputError(f"{shown} keeps its numbers in another file, which is never followed")
        if found.dtype.kind not in "fiub" or found.shape is None:
            self.aside.append(f"{shown} (no numbers)")
            return
        filters = found.id.get_create_plist()
        kinds = [filters.get_filter(k)[0] for k in range(filters.get_nfilters())]
        if any(kind not in FILTERS for kind in kinds):
            raise InputError(f"{shown} is packed with a filter that is not read")
        if math.prod(found.chunks or ()) * found.dtype.itemsize > MAX_CHUNK:
            raise InputError(f"{shown} is packed in chunks of more than {MAX_CHUNK} bytes")
        check_name(path)
        self.budget.take_array(path, found.shape, found.dtype.itemsize)
        plain = found.dtype.newbyteorder("=")
        self.tensors[path] = np.asarray(found[()], plain)

    def _texts(self, path: str, found: Any) -> None:
        for name in TEXTS:
            if name not in found.attrs:
                continue
            attribute = found.attrs.get_id(name)
            if attribute.shape != () or attribute.get_storage_size() > MAX_TEXT:
                continue
            value = found.attrs[name]
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if isinstance(text, str):
                self.texts.setdefault(path, {})[name] = text
