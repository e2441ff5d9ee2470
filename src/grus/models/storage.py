"""Files that appear whole or not at all, and the metrics log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from grus.dialects.files.whole import replace
from grus.errors import InputError

__all__ = ["append_line", "cut_back", "replace"]


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
