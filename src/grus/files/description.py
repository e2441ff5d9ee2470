"""What this program writes into a .safetensors file's metadata beside the tensors, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grus import __version__
from grus.dialects.activation import USUAL, Activation, Activations
from grus.dialects.dialect import Dialect, Said
from grus.dialects.records import find
from grus.dialects.torch_record import TorchRecord
from grus.equations import CELLS, Cell
from grus.errors import InputError

WRITTEN_BY = "written_by"
ROLES = ("gates", "candidate", "output")


def describe(dialect: Dialect, reverse: bool) -> dict[str, str]:
    """The metadata: dialect, cell (its name and its equations), activations, version."""
    chosen = dialect.activations
    found = {r: [a.name, a.alpha, a.beta] for r in ROLES for a in [getattr(chosen, r)]}
    return {
        "dialect": dialect.name,
        "cell": dialect.cell_name,
        "equations": str(dialect.cell),
        "activations": json.dumps(found | {"clip": chosen.clip}),
        "reverse": json.dumps(reverse),
        WRITTEN_BY: f"grus {__version__}",
    }


def described(dialect: Dialect, metadata: Mapping[str, str]) -> Said | None:
    """``dialect`` as the metadata of such a file mean it; None where they mean another.

    Raises InputError for metadata that contradict themselves.
    """
    if metadata.get("dialect") != dialect.name:
        return None
    try:
        activations = _activations(json.loads(metadata["activations"]))
        reverse = json.loads(metadata["reverse"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise InputError("its metadata are not what this program writes") from None
    # The usual activations are the cell's own, relu among them.
    usual = activations == USUAL
    if not usual and not dialect.allows(activations):
        raise InputError(f"its metadata give {dialect.title} activations that it cannot have")
    found = dialect if usual else replace(dialect, activations=activations)
    if str(found.cell) != metadata.get("equations") or not isinstance(reverse, bool):
        raise InputError(f"its metadata say {dialect.title}, but print other equations")
    return Said(found, reverse)


def _activations(said: Mapping[str, Any]) -> Activations:
    clip = said["clip"]
    if clip is not None and not isinstance(clip, float):
        raise ValueError
    chosen = {}
    for role in ROLES:
        name, alpha, beta = said[role]
        if not isinstance(name, str) or not all(isinstance(n, float | None) for n in (alpha, beta)):
            raise ValueError
        chosen[role] = Activation(name, alpha, beta)
    return Activations(**chosen, clip=clip)


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
    holds = {tensor.name: tensor.text for tensor in TorchRecord(cell).tensors}
    title = f"a checkpoint of the cell {cell.name}, in PyTorch's layout"
    return replace(find("torch"), title=title, cell_name=cell.name, holds=holds, named="")
