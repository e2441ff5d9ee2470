"""Whole files: whatever fails or is killed, the old file or the new one is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grus import atomic_file
from grus.errors import InputError
from grus.models import run_files


class Killed(BaseException):
    """Stands for kill -9: no handler of Exception sees it."""


@pytest.mark.parametrize("call", ["fsync", "replace", "_sync_folder"])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_around_any_call_leaves_the_old_file_or_the_new(
    tmp_path: Path, call: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    run_files.replace(path, b"old" * 1000)
    owner = atomic_file if call.startswith("_") else os
    real = getattr(owner, call)

    def killed(*arguments: object) -> None:
        if after:
            real(*arguments)
        raise Killed

    monkeypatch.setattr(owner, call, killed)
    with pytest.raises(Killed):
        run_files.replace(path, b"new" * 999)
    monkeypatch.undo()
    switched = call == "_sync_folder" or (call == "replace" and after)
    assert path.read_bytes() == (b"new" * 999 if switched else b"old" * 1000)
    run_files.replace(path, b"next")
    assert path.read_bytes() == b"next"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"], "nothing is left lying about"


def test_the_bytes_reach_the_disk_before_the_name_is_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, then the switch, then fsync of the folder."""
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1]
        )
    run_files.replace(tmp_path / "file", b"x")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_files.replace(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        run_files.replace(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b'{"step": 1}\n{"step": 2}\n{"step": 3}\n', 2),
        (b'{"step": 1}\n{"step": 2}\n{"step": 3, "lo', 2),
        (b'{"step": 1}\n{"step": 2', 1),
        (b'{"step": 1}\n{"step": 2}', 1),
        (b'{"step": 1}\nnonsense\n{"step": 2}\n', 1),
        (b'{"step": 1}\n[2]\n{"step": 2}\n', 1),
        (b'{"step": 1}\n{"step": "2"}\n', 1),
        (b"\xff\xfe", 0),
        (b"", 0),
    ],
)
def test_metrics_are_cut_back_to_the_step(tmp_path: Path, content: bytes, kept: int) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    run_files.cut_back(path, 2)
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:kept])


def test_metrics_that_are_missing_stay_missing(tmp_path: Path) -> None:
    run_files.cut_back(tmp_path / "metrics.jsonl", 2)
    assert list(tmp_path.iterdir()) == []
