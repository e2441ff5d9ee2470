"""Reading back what a run reported. Needs no torch."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from grus.errors import InputError
from grus.models.fields import check

NAME = "metrics.jsonl"
MOST_BYTES = 256 * 2**20
NUMBERS = tuple(
    f"{kind}_{what}" for kind in ("train", "validation") for what in ("loss", "bits", "perplexity")
)


def read(folder: Path) -> list[dict[str, Any]]:
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
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: not a report of a run") from None
    known = isinstance(found, dict) and type(found.get("step")) is int
    for name in NUMBERS if known else ():
        number = found.get(name, "missing")
        held_out = name.startswith("validation") and number is None
        known = known and (type(number) in (int, float) or held_out)
    check(known, f"{where}: not a report of a run")
    return dict(found)
