"""HDF5 files from strangers, walked without following any link that leads elsewhere."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from grus.errors import InputError, needed_for
from grus.files import safetensors_file
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


SECONDS = 10
"""What the process may compute; it may wait for the disk six times as long."""
SPARE_BYTES = 2**30
"""What the process may map beyond the arrays and their copy on the way out."""
REFUSED = 3
# Isolated from the folder that it is started in; then the same packages as here.
START = (
    "import json, sys; asked = json.loads(sys.stdin.buffer.readline());"
    " sys.path[:] = asked['path']; from grus.files.hdf5 import serve; serve(asked)"
)


@dataclass(frozen=True)
class Hdf5Data:
    """Datasets of numbers by path, text attributes by path of their group, and what is neither."""

    tensors: dict[str, Array]
    texts: Mapping[str, Mapping[str, str]]
    aside: tuple[str, ...]


def read(source: Path | bytes, budget: Budget) -> Hdf5Data:
    """The content of an HDF5 file, given as a path or as its bytes. Raises InputError."""
    here = isinstance(source, bytes)
    asked = {
        "path": sys.path,
        "file": None if here else str(source),
        "seconds": SECONDS,
        "budget": [budget.file_size, budget.taken, budget.tensors],
    }
    command = [sys.executable, "-I", "-c", START]
    given = json.dumps(asked).encode() + b"\n" + (source if isinstance(source, bytes) else b"")
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=6 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"a damaged HDF5 file: not read after {6 * SECONDS} seconds") from None
    if done.returncode == REFUSED:
        raise InputError(done.stdout.decode("utf-8", "replace"))
    if done.returncode:
        raise InputError("a damaged HDF5 file: its library crashed, hung, or ran out of memory")
    tensors, metadata = safetensors_file.parse(done.stdout)
    for array in tensors.values():
        budget.take(array.nbytes, "the file")
    said = json.loads(metadata["said"])
    return Hdf5Data(tensors, said["texts"], tuple(said["aside"]))


def serve(asked: Mapping[str, Any]) -> None:
    """Read what was asked for and write it to the standard output; the process's whole task."""
    budget = Budget(*asked["budget"])
    limit(SPARE_BYTES + 2 * (budget.limit - budget.taken), asked["seconds"])
    source = Path(asked["file"]) if asked["file"] else io.BytesIO(sys.stdin.buffer.read())
    out = sys.stdout.buffer
    try:
        found = Hdf5(source, budget)
    except InputError as error:
        out.write(str(error).encode())
        out.flush()
        raise SystemExit(REFUSED) from None
    said = json.dumps({"texts": found.texts, "aside": found.aside})
    out.write(safetensors_file.content(found.tensors, {"said": said}))
    out.flush()


def limit(count: int, seconds: int) -> None:
    """Let this process map ``count`` bytes and compute ``seconds``, where a system can limit it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    wanted = {
        resource.RLIMIT_AS: count,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
