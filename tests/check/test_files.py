"""Vectors for other languages are written whole, answers are read with suspicion."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grus.check import Answer, cases, failed, from_answers, report
from grus.check.answers import read_answers, write_vectors
from grus.equations import CELLS
from grus.errors import InputError

GRU = CELLS["gru"]


def answered(vectors: dict[str, Any]) -> dict[str, Any]:
    """The answers of a program that is always right."""
    return {"cases": {case["name"]: case["expected"] for case in vectors["cases"]}}


@pytest.fixture
def vectors(tmp_path: Path) -> dict[str, Any]:
    write_vectors(tmp_path / "vectors.json", GRU)
    return json.loads((tmp_path / "vectors.json").read_text())


def test_the_vectors_hold_everything_that_a_program_needs(vectors: dict[str, Any]) -> None:
    assert vectors["format"] == "grus check 1"
    by_name = {case["name"]: case for case in vectors["cases"]}
    assert list(by_name) == [case.name for case in cases(GRU)]
    for case in cases(GRU):
        one = by_name[case.name]
        x = np.array(one["x"], np.float64)  # null reads as NaN
        assert np.array_equal(x, case.x, equal_nan=True)
        assert set(one["weights"]) == set(case.weights)
        for name in ("h0", "lengths", "resets", "mask", "zoneout"):
            assert (name in one) == (getattr(case, name) is not None)
        assert set(one["expected"]["gradients"]) >= {"x", *case.weights}


def test_right_answers_pass(vectors: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text(json.dumps(answered(vectors)))
    judge = from_answers(GRU, read_answers(tmp_path / "answers.json", GRU), "float64")
    assert not failed(judge)
    assert {row.gradients.status for row in judge.rows()} == {"ok"}


def test_arrays_are_the_same_in_both_kinds_of_file(vectors: dict[str, Any], tmp_path: Path) -> None:
    write_vectors(tmp_path / "vectors.npz", GRU)
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as arrays:
        for case in vectors["cases"]:
            for key in ("x", "h0", "lengths"):
                if key in case:
                    one = np.array(case[key], np.float64)
                    assert np.array_equal(arrays[f"{case['name']}/{key}"], one, equal_nan=True)
            for name, value in case["weights"].items():
                assert np.array_equal(arrays[f"{case['name']}/weights/{name}"], value)
            output = arrays[f"{case['name']}/expected/output"]
            assert np.array_equal(output, case["expected"]["output"])


def test_answers_in_an_npz_are_judged(vectors: dict[str, Any], tmp_path: Path) -> None:
    arrays = {}
    for name, one in answered(vectors)["cases"].items():
        arrays |= {f"{name}/output": one["output"], f"{name}/h_n": np.negative(one["h_n"])}
        arrays |= {f"{name}/gradients/{n}": g for n, g in one["gradients"].items()}
    np.savez(tmp_path / "answers.npz", **arrays)
    judge = from_answers(GRU, read_answers(tmp_path / "answers.npz", GRU), "float64")
    assert len(judge.failing) == len(cases(GRU))


def test_a_wrong_answer_is_explained(vectors: dict[str, Any], tmp_path: Path) -> None:
    given = answered(vectors)
    for case in vectors["cases"]:
        if "lengths" in case:
            empty = np.array(case["lengths"]) == 0
            h_n = np.array(case["expected"]["h_n"])
            h_n[:, empty] = 0
            given["cases"][case["name"]]["h_n"] = h_n.tolist()
    (tmp_path / "answers.json").write_text(json.dumps(given))
    judge = from_answers(GRU, read_answers(tmp_path / "answers.json", GRU), "float64")
    assert "a row of length 0 ends with zeros" in report(judge)


def test_a_case_without_an_answer_is_not_offered(vectors: dict[str, Any], tmp_path: Path) -> None:
    given = answered(vectors)
    only = {"cases": {"biases": given["cases"]["biases"]}}
    (tmp_path / "answers.json").write_text(json.dumps(only))
    answers = read_answers(tmp_path / "answers.json", GRU)
    assert isinstance(answers["biases"], Answer)
    status = [row.forward.status for row in from_answers(GRU, answers, "float32").rows()]
    assert status.count("ok") == 1
    assert status.count("not offered") == len(cases(GRU)) - 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "must be"),
        ('{"cases": {"biases": 1}}', "needs output and h_n"),
        ('{"cases": {"biases": {"output": [1], "h_n": [2]}}}', r"output has shape \(1,\)"),
        ('{"cases": {"biases": {"output": "a", "h_n": [2]}}}', "is no array of numbers"),
        ('{"cases": {"nobody": {"output": [1], "h_n": [2]}}}', "no case is called 'nobody'"),
    ],
)
def test_what_is_no_answer_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        read_answers(path, GRU)


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"biases/output": np.array([{}], dtype=object)})
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }"
    header = b"\x93NUMPY\x01\x00v\x00" + text.ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("biases/output.npy", header)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 not a whole archive")
    (tmp_path / "c.txt").write_text("1")
    for name in ("a.npz", "b.npz", "d.npz", "c.txt", "missing.json"):
        with pytest.raises(InputError):
            read_answers(tmp_path / name, GRU)


def test_vectors_are_written_as_json_or_npz_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"json or \.npz"):
        write_vectors(tmp_path / "vectors.csv", GRU)
    assert list(tmp_path.iterdir()) == []
