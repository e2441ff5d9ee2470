"""Files that appear whole or not at all, the metrics log, and one writer for a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from grus.dialects.files.whole import replace
from grus.errors import InputError

__all__ = ["append_line", "cut_back", "only_writer", "replace"]
LOCK = ".lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """No other process, and no other part of this one, is in here for ``folder`` at the same time.

    The system keeps the lock, so that the end of the process, any end, releases it. Raises
    InputError at once where somebody else has it.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"the run in {folder} is being trained by another process: wait for its end, or stop it"
        ) from None
    except OSError as error:
        raise InputError(f"{folder / LOCK} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


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
