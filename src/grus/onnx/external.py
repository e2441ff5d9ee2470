"""Numbers that an ONNX file keeps in another file: that file must lie beside it, in its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

from grus.errors import InputError
from grus.weight_file import one_line


def read(folder: Path, where: Mapping[str, str], size: int, name: str) -> bytes:
    """The ``size`` bytes of the tensor ``name`` in the file that ``where`` says.

    ``where`` holds ONNX's location, offset and length. Raises InputError for a location that is
    absolute, climbs out of ``folder``, is or passes through a link, or is no plain file; and for
    bytes that the file does not have.
    """
    path = _inside(folder, where.get("location", ""), name)
    offset = _number(where.get("offset", "0"), name)
    length = _number(where.get("length", str(size)), name)
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            there = os.fstat(file.fileno()).st_size
            if length != size or offset + size > there:
                raise InputError(
                    f"{name} needs {size} bytes; it says {length} from byte {offset} on of a file"
                    f" of {there}"
                )
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise InputError(f"{name}: its data file cannot be read: {error.strerror}") from None


def _inside(folder: Path, location: str, name: str) -> Path:
    parts = PureWindowsPath(location).parts  # takes both kinds of slashes and drive letters
    climbs = ".." in parts or PureWindowsPath(location).anchor or not location.isprintable()
    if climbs or not parts:
        raise InputError(
            f"{name} keeps its data at {one_line(location)[:80]!r}, which is not inside the"
            " model's folder"
        )
    path = folder
    for part in parts:
        path = path / part
        try:
            mode = path.lstat().st_mode
        except (OSError, ValueError):
            raise InputError(f"{name}: there is no data file {one_line(location)[:80]!r}") from None
        if stat.S_ISLNK(mode):
            raise InputError(f"{name}: its data file {one_line(location)[:80]!r} is a link")
    if not stat.S_ISREG(mode):
        raise InputError(f"{name}: its data file {one_line(location)[:80]!r} is no plain file")
    return path


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"{name}: {one_line(text)[:40]!r} is no offset or length of its data")
    return int(text)
