"""Files that appear whole or not at all, and the metrics log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from grus.errors import InputError


def replace(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a kill at any moment leaves the old file or the new.

    The bytes reach the disk under another name first; then the name is switched, and the folder's
    entry reaches the disk too. Raises InputError when the disk refuses; the old file is kept.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open a folder, and its file system journals the rename itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line to ``path`` and wait until it is on the disk."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


def cut_back(path: Path, step: int) -> None:
    """Keep the lines of ``path`` up to ``step``; a torn line and all that follows it goes.

    A missing file stays missing.
    """
    if not path.is_file():
        return
    content = path.read_bytes()
    kept = b""
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or not _up_to(line, step):
            break
        kept += line
    if kept != content:
        replace(path, kept)


def _up_to(line: bytes, step: int) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    found = record.get("step") if isinstance(record, dict) else None
    return isinstance(found, int) and found <= step
