"""`grus.cell`: a cell's own name, the name people know it by, or a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import grus
from grus.equations import CELLS, KNOWN_AS, Cell, CellError, explain_name

MINE = """
from grus.equations import *

class Mine(Cell):
    f = sigmoid(W.f @ x + U.f @ h)
    h_next = f * h + (1 - f) * tanh(W.n @ x)

not_a_cell = 3
"""

MEANT = {
    "cho2014": "gru_reset_before",
    "chung2014": "gru_reset_before_admit",
    "keras": "gru",
    "torch": "gru",
    "d2l": "gru_reset_before",
    "wikipedia": "gru_reset_before_admit",
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_found_by_its_own_name_and_needs_no_explanation(name: str) -> None:
    assert grus.cell(name) is CELLS[name]
    assert CELLS[name].name == name
    assert explain_name(name) == ""


def test_a_cell_stands_for_itself() -> None:
    assert grus.cell(CELLS["gru"]) is CELLS["gru"]


@pytest.mark.parametrize("name", MEANT)
def test_a_name_people_know_says_which_cell_it_is_and_why(name: str) -> None:
    assert grus.cell(name) is CELLS[MEANT[name]]
    said = explain_name(name)
    assert said.startswith(f"{name} is the cell {MEANT[name]}: ")
    assert "z " in said
    assert "reset" in said


def test_every_known_name_is_tested_here() -> None:
    assert set(KNOWN_AS) == set(MEANT)


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(CellError, match=r"no cell is called 'gruu'.*gru_reset_before.*chung2014"):
        grus.cell("gruu")


def test_a_cell_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    cell = grus.cell(f"{file}:Mine")
    assert isinstance(cell, Cell)
    assert cell.name == "mine"
    assert cell.families == {"W": ("f", "n"), "U": ("f",)}


WRONG_FILES = {
    "no such cell": (MINE, "Other", "no cell 'Other' in .*it has .*'Mine'"),
    "not a cell": (MINE, "not_a_cell", "no cell 'not_a_cell'"),
    "raises": ("1 / 0", "Mine", "mine.py, line 1: .*ZeroDivisionError: division by zero"),
    "unknown name": (
        MINE.replace("sigmoid(", "sigmold(", 1),
        "Mine",
        r"mine.py, line [1-9]\d*: .*NameError: name 'sigmold' is not defined",
    ),
    "does not compile": ("\ndef", "Mine", "mine.py, line 2: .*SyntaxError"),
    "exits": ("raise SystemExit(0)", "Mine", "mine.py, line 1: .*SystemExit"),
    "wrong value": (
        "from grus import Cell\nclass Mine(Cell):\n    r = 'no'",
        "Mine",
        "mine.py, line 3: r must be .*not str",
    ),
    "choice": (
        "from grus.equations import *\nclass Mine(Cell):\n    z = sigmoid(W.z @ x + h)\n"
        "    h_next = h if z else z",
        "Mine",
        "mine.py, line 4: z is not true or false",
    ),
    "wrong cell": (
        "from grus.equations import *\nclass Mine(Cell):\n    z = h * 2\n    h_next = tanh(h)",
        "Mine",
        "mine.py, line 2: cell mine: z is never used",
    ),
}


@pytest.mark.parametrize(("source", "name", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_without_that_cell_is_one_clear_error(
    tmp_path: Path, source: str, name: str, message: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(CellError, match=message):
        grus.cell(f"{file}:{name}")


@pytest.mark.parametrize("spec", ["nowhere.py:Mine", ":Mine", f"{'a' * 5000}:Mine", "a\0b:Mine"])
def test_a_file_that_is_not_there_is_one_clear_error(spec: str) -> None:
    with pytest.raises(CellError, match="there is no file"):
        grus.cell(spec)


def test_a_file_that_is_not_python_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(MINE)
    with pytest.raises(CellError, match="is not a Python file"):
        grus.cell(f"{file}:Mine")


@pytest.mark.parametrize("spec", [3, None, ["gru"]], ids=repr)
def test_what_is_no_name_is_refused(spec: object) -> None:
    with pytest.raises(CellError, match="a cell is a name or a Cell"):
        grus.cell(spec)  # type: ignore[arg-type]
