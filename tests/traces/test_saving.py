"""A saved trace is the same trace; a file that is none, or means harm, is refused in a sentence."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_recorded import made

from grus import InputError
from grus.traces import Trace


def saved(folder: Path, **changes: Any) -> Path:
    path = folder / "t.npz"
    made(**changes).save(path)
    return path


@pytest.mark.parametrize("tokens", [None, ("<b>", "é\n")])
def test_a_trace_comes_back_as_it_was(tmp_path: Path, tokens: Any) -> None:
    trace = made(tokens=tokens)
    trace.save(tmp_path / "t.npz")
    found = Trace.load(tmp_path / "t.npz")
    assert (found.cell, found.cell.name, found.names) == (trace.cell, "gru", trace.names)
    assert found.tokens == tokens
    for name in trace.names:
        assert found[name].dtype == trace[name].dtype
        assert found[name].tobytes() == trace[name].tobytes()
    assert found.start["h"].tobytes() == trace.start["h"].tobytes()
    for name in ("layers", "directions", "steps", "units", "lengths"):
        np.testing.assert_array_equal(getattr(found, name), getattr(trace, name))
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]


def test_numpy_reads_the_file_as_it_is(tmp_path: Path) -> None:
    with np.load(saved(tmp_path), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["value.z"], made()["z"])


def test_a_file_that_cannot_be_written_is_said_and_the_old_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written"):
        made(tokens=None).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]
    with pytest.raises(InputError, match=r"saved as \.npz, got 't.txt'"):
        made().save(tmp_path / "t.txt")


def changed(folder: Path, **members: Any) -> Path:
    """A saved trace with some of its arrays exchanged, or left out where None."""
    path = saved(folder)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays |= members
    np.savez(path, **{n: a for n, a in arrays.items() if a is not None})
    return path


def about(**changes: Any) -> np.ndarray:
    cell = {"name": "gru", "equations": str(made().cell)}
    content = {"format": "grus trace", "version": 1, "cell": cell, "tokens": None, **changes}
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"about": None}, "not a trace"),
        ({"about": np.zeros(3)}, "not a trace"),
        ({"about": np.frombuffer(b"[" * 100_000, np.uint8)}, "not a trace"),
        ({"about": about(format="x")}, "not a trace"),
        ({"about": about(version=2)}, "version 2; this program reads 1"),
        ({"about": about(cell={"name": "gru"})}, "must be a name and equations"),
        ({"about": about(cell={"name": "a b", "equations": "h_next = h"})}, "is not a name"),
        ({"about": about(cell={"name": "g", "equations": "h_next = exec(h)"})}, "exec"),
        ({"about": about(tokens=[1, 2])}, "tokens must be texts"),
        ({"about": about(tokens=["a"])}, "2 steps need as many tokens, got 1"),
        ({"steps": None, "units": None}, "no steps, units"),
        ({"value.z": np.zeros((2, 1, 2, 3, 3), np.int64)}, "value.z must be float32 or float64"),
        ({"value.z": np.zeros((2, 1, 2, 3))}, "z must be"),
        ({"value.q": np.zeros((2, 1, 2, 3, 3))}, "gru has no value 'q'"),
        ({"lengths": np.zeros((2, 2), np.int64)}, "lengths must be a list of whole numbers"),
        ({"steps": np.array([0.5, 1.5])}, "steps must be a list of whole numbers"),
        ({"value.z": np.array([{}, []], object)}, "Python objects are never read"),
    ],
)
def test_a_file_of_others_is_checked(tmp_path: Path, members: dict[str, Any], said: str) -> None:
    path = changed(tmp_path, **members)
    with pytest.raises(InputError, match=said) as error:
        Trace.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("value.z.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(200):
            member.write(bytes(2**20))
    with pytest.raises(InputError, match="bytes"):
        Trace.load(path)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_bytes(b"PK\x03\x04 and then nothing")
    for name, said in (("u.npz", "not found"), ("t.npz", "t.npz: "), (".", "not found")):
        with pytest.raises(InputError, match=said):
            Trace.load(tmp_path / name)
