"""This program's own checkpoints of models: PyTorch's layout of whatever cell the file prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from grus.dialects.dialect import Dialect
from grus.dialects.records import find
from grus.dialects.torch_record import TorchRecord
from grus.equations import CELLS, Cell
from grus.errors import InputError

KEY = "grus"
OPTIMIZER = "adam."
"""What stands before the names of the optimiser's tensors, which are no weights."""


def cell_of(metadata: Mapping[str, str]) -> Cell | None:
    """The cell of a checkpoint; None for the metadata of another file.

    Raises InputError for a cell that no dialect can store: one's own, or a projected one.
    """
    if KEY not in metadata:
        return None
    try:
        said = json.loads(metadata[KEY])["cell"]["equations"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    for cell in CELLS.values():
        if str(cell) == said and set(cell.families) <= set("WUbd"):
            return cell
    raise InputError("a checkpoint of a cell of one's own, or of one that no dialect stores")


def torch_layout(cell: Cell) -> Dialect:
    """A record of ``cell`` as `TorchRecord` lays it out; PyTorch's own where it has that cell."""
    known = [one for one in (find("torch"), find("torch_lstm")) if one.cell == cell]
    if known:
        return known[0]
    inner = cell.families.get("d", ())
    second = " ".join(f"{'d' if g in inner else 'a'}.{g}" for g in TorchRecord(cell).gates_hh)
    holds = {
        "weight_ih": f"W.{''.join(cell.families['W'])}",
        "weight_hh": f"U.{''.join(cell.families['U'])}",
        "bias_ih": f"b.{''.join(cell.families['b'])}",
        "bias_hh": second,
    }
    title = f"a checkpoint of the cell {cell.name}, in PyTorch's layout"
    return replace(find("torch"), title=title, cell_name=cell.name, holds=holds, named="")
