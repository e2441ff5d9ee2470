"""HDF5 read in a process of its own, because the C library can hang or crash on damaged files.

A file whose global heap is damaged makes libhdf5 2.0 loop for ever in the read of one attribute.
No Python code can stop that; the end of a process can. Memory and time of that process are
limited too.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grus.errors import InputError
from grus.files import safetensors_file
from grus.files.hdf5 import Hdf5
from grus.weight_file import Array, Budget

SECONDS = 10
"""What the process may compute; it may wait for the disk six times as long."""
SPARE_BYTES = 2**30
"""What the process may map beyond the arrays and their copy on the way out."""
REFUSED = 3
# Isolated from the folder that it is started in; then the same packages as here.
START = (
    "import json, sys; asked = json.loads(sys.stdin.buffer.readline());"
    " sys.path[:] = asked['path']; from grus.files.hdf5_process import serve; serve(asked)"
)


@dataclass(frozen=True)
class Found:
    """Datasets of numbers by path, text attributes by path of their group, and what is neither."""

    tensors: dict[str, Array]
    texts: Mapping[str, Mapping[str, str]]
    aside: tuple[str, ...]


def read(source: Path | bytes, budget: Budget) -> Found:
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
    return Found(tensors, said["texts"], tuple(said["aside"]))


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
