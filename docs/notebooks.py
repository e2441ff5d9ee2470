"""Execute the notebooks beside this file and write them back with their outputs.

    python docs/notebooks.py

What differs from run to run or from machine to machine (times, versions) is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
SECONDS = 300  # for one cell
LANGUAGE = {"name": "python"}


def execute(path: Path) -> Any:
    """The notebook, executed anew in an empty kernel; CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, record_timing=False).execute()
    notebook.metadata["language_info"] = LANGUAGE
    return notebook


def main() -> None:
    """Execute and rewrite all of them."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(execute(path), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
