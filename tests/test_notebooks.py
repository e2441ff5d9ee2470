"""Notebooks: each is committed with its outputs, small, and runs again without an error."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from house import ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
LARGEST = 400_000  # bytes, pictures included


def execute(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook executed anew by this Python, in an empty folder."""
    for package in ("ipykernel", "matplotlib", "torch"):
        pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), *sys.path]))
    monkeypatch.chdir(folder)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300).execute()
    return notebook


def kinds(notebook: Any) -> list[set[str]]:
    """The kinds of output of each cell of code."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        {kind for out in cell.outputs for kind in out.get("data", {"text": ""})} for cell in cells
    ]


@pytest.mark.torch
@pytest.mark.filterwarnings("default")  # what the kernel and its messages warn of is not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_runs_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell fails, and each gives outputs of the kinds that are committed."""
    again = execute(path, tmp_path, monkeypatch)
    assert kinds(again) == kinds(nbformat.read(path, as_version=4))


@pytest.mark.torch
@pytest.mark.filterwarnings("default")
def test_a_notebook_that_fails_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wrong.ipynb"
    cell = nbformat.v4.new_code_cell("import grus\ngrus.cell('gruu')")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="gruu"):
        execute(path, tmp_path, monkeypatch)


def test_there_is_one() -> None:
    assert [path.name for path in NOTEBOOKS] == ["from-formula-to-gates.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_it_is_committed_with_its_outputs_small_and_without_a_trace_of_a_machine(
    path: Path,
) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in codes] == list(range(1, len(codes) + 1))
    assert sum("image/png" in out.get("data", {}) for c in codes for out in c["outputs"]) >= 3
    assert all(out["output_type"] != "error" for c in codes for out in c["outputs"])
    assert path.stat().st_size <= LARGEST
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
