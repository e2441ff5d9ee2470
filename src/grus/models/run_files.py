"""A run's files: whole or not at all, the metrics log, one writer for a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from grus.atomic_file import replace
from grus.errors import InputError
from grus.models.settings import check

__all__ = ["append_line", "cut_back", "only_writer", "read_metrics", "replace"]
LOCK = ".lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """No other process, and no other part of this one, is in here for ``folder`` at the same time.

    The system keeps the lock, so that the end of the process, any end, releases it. Raises
    InputError at once if another process has it.
    """
    from filelock import FileLock, Timeout

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
    number = record.get("step") if isinstance(record, dict) else None
    return isinstance(number, int) and number <= step


NAME = "metrics.jsonl"
MOST_BYTES = 256 * 2**20
NUMBERS = tuple(
    f"{kind}_{what}" for kind in ("train", "validation") for what in ("loss", "bits", "perplexity")
)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The reports of the run in ``folder``, one for each line of its metrics.jsonl; steps go up.

    A run may be writing: a last line without its end is left out.

    Raises InputError for a folder without a run, and a line that is no report.
    """
    path = folder / NAME
    check(path.is_file(), f"{folder} holds no run that reported: {NAME} is not there")
    check(path.stat().st_size <= MOST_BYTES, f"{path} is larger than any run's reports")
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    whole = [line for line in lines if line.endswith(b"\n")]
    reports = [_report(line, f"{path}, line {k + 1}") for k, line in enumerate(whole)]
    ordered = all(a["step"] < b["step"] for a, b in pairwise(reports))
    check(ordered, f"{path}: the steps do not go up")
    return reports


def _report(line: bytes, where: str) -> dict[str, Any]:
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: not a report of a run") from None
    known = isinstance(report, dict) and type(report.get("step")) is int
    for name in NUMBERS if known else ():
        number = report.get(name, "missing")
        held_out = name.startswith("validation") and number is None
        known = known and (type(number) in (int, float) or held_out)
    check(known, f"{where}: not a report of a run")
    return dict(report)
