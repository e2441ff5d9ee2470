"""`grus dialects`: the table, one record, JSON."""

from __future__ import annotations

import json
import sys

import pytest

from grus.cli.main import run
from grus.dialects import DIALECTS
from grus.equations import Cell


def dialects(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["grus", "dialects", *words])
        with pytest.raises(SystemExit) as stopped:
            run()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_the_table_has_a_line_for_every_record_and_keeps_to_a_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = dialects(capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1 : len(DIALECTS) + 1]] == [d.name for d in DIALECTS]
    assert max(map(len, lines)) <= 100
    proven = {d.name for d in DIALECTS if d.proven}
    assert {line.split()[0] for line in lines[1:-2] if "equations only" not in line} == proven


@pytest.mark.parametrize("one", DIALECTS, ids=lambda one: one.name)
def test_every_record_has_a_page_that_names_its_tensors(
    one: object, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = dialects(capsys, getattr(one, "name", ""))
    assert (code, err) == (0, "")
    for name, held in getattr(one, "holds", {}).items():
        assert any(line.split() == [name, *held.split()] for line in out.splitlines())


def test_json_holds_equations_that_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = dialects(capsys, "--json")
    found = json.loads(out)
    assert code == 0
    assert [one["name"] for one in found] == [one.name for one in DIALECTS]
    for one, record in zip(found, DIALECTS, strict=True):
        assert Cell.parse("\n".join(one["equations"])) == record.cell
        assert one["tensors"] == record.holds
        assert one["proven"] == record.proven


def test_a_framework_shows_all_its_records(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = dialects(capsys, "torch")
    heads = [line.split(":")[0] for line in out.splitlines() if line and not line.startswith(" ")]
    assert heads == [one.name for one in DIALECTS if one.framework == "torch"]


def test_an_unknown_name_lists_the_frameworks(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = dialects(capsys, "nope")
    assert (code, out) == (2, "")
    assert err.startswith("grus: no dialect is called 'nope'; there are keras, torch, onnx")
