"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from grus.errors import InputError


def replace(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a kill at any moment leaves the old file or the new.

    The bytes reach the disk under another name first; then the name is switched, and the folder's
    entry reaches the disk too. Raises InputError when the disk refuses; the old file is kept.
    """
    replace_by(path, lambda file: file.write(content))


def replace_by(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """The same with what ``write`` puts into an open file."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # a disk that takes nothing does not even let go of nothing
            unfinished.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open a folder, and its file system journals the rename itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
