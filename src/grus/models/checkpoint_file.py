"""One safetensors file with a JSON object in its metadata: how a checkpoint lies on the disk.

A file may come from anyone: its header's size, the JSON, and every tensor's name, shape and dtype
are checked before anything is allocated, and nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from grus import __version__
from grus.equations import Cell
from grus.errors import InputError
from grus.models.settings import check, from_json

MAX_HEADER = 32 * 2**20  # a vocabulary of every Unicode character needs about half of it
NAMES = {"F32": "float32", "F64": "float64", "U8": "uint8"}
Kind = tuple[tuple[int, ...], str]  # shape, dtype


def content(
    form: str, version: int, described: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> bytes:
    """The bytes of a file that says its format and version, ``described`` and ``tensors``."""
    written_by = f"grus {__version__}"
    header = {"format": form, "version": version, "written_by": written_by, **described}
    return to_bytes(dict(tensors), {"grus": json.dumps(header, allow_nan=False)})


@contextmanager
def opened(path: Path, form: str, version: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """The JSON object of a file of this format, and the open file; errors name ``path``."""
    _check_size(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield _header(file.metadata(), form, version), file
    except InputError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole safetensors file: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    """The error's message, safe for a terminal even if the author of the file worded it."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:500])


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} not found; expected a checkpoint")
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    size = path.stat().st_size
    if size < 8 or header > min(MAX_HEADER, size - 8):
        raise InputError(f"{path} is not a whole safetensors file")


def _header(metadata: Mapping[str, str] | None, form: str, version: int) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {})["grus"])
    except (KeyError, ValueError, RecursionError):
        raise InputError("a safetensors file, but not a grus checkpoint") from None
    fits = isinstance(header, dict) and header.get("format") == form
    check(fits, f"a safetensors file, but not a {form}")
    if header.get("version") != version:
        raise InputError(
            f"version {header.get('version')!r:.20} of the format; this program reads {version}"
        )
    return dict(header)


def tensors_of(file: Any, wanted: Mapping[str, Kind]) -> dict[str, Tensor]:
    """The tensors of an open file, which are those wanted, finite. Raises InputError otherwise."""
    names = set(file.keys())
    if names != set(wanted):
        missing, extra = sorted(set(wanted) - names), sorted(names - set(wanted))
        raise InputError(f"tensors do not fit the cell: missing {missing[:3]}, extra {extra[:3]}")
    for name, (shape, dtype) in wanted.items():
        part = file.get_slice(name)
        got = (tuple(part.get_shape()), NAMES.get(part.get_dtype(), part.get_dtype()))
        if got != (shape, dtype):
            raise InputError(f"{name} must be {dtype} {shape}, got {got[1]} {got[0]}")
    tensors = {name: file.get_tensor(name) for name in wanted}
    for name, tensor in tensors.items():
        check(bool(tensor.isfinite().all()), f"{name} holds NaN or infinity")
    return tensors


@dataclass(frozen=True)
class _CellText:
    name: str
    equations: str


def cell_text(cell: Cell) -> dict[str, str]:
    """A cell as JSON has it: its name and its equations."""
    return {"name": cell.name, "equations": str(cell)}


def read_cell(value: object) -> Cell:
    """The cell of `cell_text`, read without `eval`."""
    text = from_json(_CellText, value, "cell")
    check(text.name.isidentifier(), f"the cell's name {text.name!r:.80} is not a name")
    return Cell.parse(text.equations, text.name, unused=True)


@torch.no_grad()
def load_weights(weights: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """Copy a file's weights into a model's.

    Copied, not adopted: a tensor inside the file's bytes may be unaligned, and then a product's
    last bits depend on where it lies.
    """
    for name, parameter in weights.items():
        parameter.copy_(tensors[name])
