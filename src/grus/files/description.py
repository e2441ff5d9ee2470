"""What a file says of its tensors: their names in the words of the dialects, which tell layers and
directions, and the metadata that this program writes into a .safetensors file, and reads again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from grus import __version__
from grus.dialects.activation import USUAL, Activation, Activations
from grus.dialects.dialect import Dialect, Meant
from grus.dialects.records import find
from grus.dialects.torch_record import TorchRecord
from grus.equations import CELLS, Cell
from grus.errors import InputError

KERAS_VARIABLES = ("kernel", "recurrent_kernel", "bias")
"""What Keras 3 numbers 0, 1, 2."""
KERAS_CELL = r"(?:gru|lstm|simple_rnn)_cell(?:_\d+)?"
CUDNN = r"(?:cu_dnn(?:gru|lstm)(?:_\d+)?|(?:forward|backward)_layer)"
"""Layers that keep their variables themselves, without a cell."""
NUMBERED = re.compile(
    rf"(?P<path>.+?)(?:/cell|(?P<cell>/{KERAS_CELL}|/{CUDNN}))/vars/(?P<number>[012])"
)
LEGACY = re.compile(
    rf"(?P<path>.+?)(?:/{KERAS_CELL})?/(?P<name>kernel|recurrent_kernel|bias)(?::0)?"
)
# Keras 1: LAYER/LAYER_W_z, in a Bidirectional BIDIRECTIONAL/forward_LAYER_W_z; a tensor for each
# gate, or one of them all.
KERAS_1 = re.compile(r"(?P<path>.+/[^/]+)_(?P<name>[WUb](?:_[zrhifco])?)(?::0)?")
WHOLE = dict(zip("WUb", KERAS_VARIABLES, strict=True))
SIDE = re.compile(r"(?P<parent>.+)/(?P<side>forward|backward)_(?!layer$)[^/]+")


def spellings(tensors: Iterable[str]) -> dict[str, str]:
    """The name in the dialects' words -> the name in the file, where that is one to one.

    ``layers/gru/cell/vars/0`` is ``layers/gru/kernel``. Where a folder holds the layers of both
    directions, ``forward_NAME`` and ``backward_NAME``, these are ``forward_layer`` and
    ``backward_layer``. A kernel of a cell without a recurrent kernel is not Keras' and keeps its
    name.
    """
    every = {name: _spelled(name) for name in tensors}
    recurrent = {path for path, own in every.values() if own.startswith(("recurrent_", "U_"))}
    sides: dict[str, set[str]] = {}
    for path in recurrent:
        if found := SIDE.fullmatch(path):
            sides.setdefault(found["parent"], set()).add(found["side"])
    words: dict[str, list[str]] = {}
    for name, (path, own) in every.items():
        known = own and path in recurrent
        side = SIDE.fullmatch(path)
        if side and len(sides.get(side["parent"], ())) == 2:
            layer = f"{side['parent']}/{side['side']}_layer"
        else:
            layer = path
        word = f"{layer}/{own}" if known else name.removesuffix(":0")
        words.setdefault(word, []).append(name)
    alone = {word: full[0] for word, full in words.items() if len(full) == 1}
    return alone | {n.removesuffix(":0"): n for f in words.values() if len(f) > 1 for n in f}


def _spelled(name: str) -> tuple[str, str]:
    """(layer, variable) in Keras' words; the variable is "" where the name is no such."""
    if found := NUMBERED.fullmatch(name):
        return found["path"] + (found["cell"] or ""), KERAS_VARIABLES[int(found["number"])]
    if found := LEGACY.fullmatch(name):
        return found["path"], found["name"]
    if found := KERAS_1.fullmatch(name):
        return found["path"], WHOLE.get(found["name"], found["name"])
    return name, ""


def places(dialect: Dialect, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Path of a layer -> the dialect's name of a tensor -> the one among ``names``.

    A path is what stands before a name that the dialect knows. Names are compared with / and .
    alike, since both are used to join nested names.
    """
    dotted = {_dotted(tensor.name): tensor.name for tensor in dialect.tensors}
    scheme, (forward, backward) = dialect.scheme, map(_dotted, dialect.scheme.directions)
    scheme = replace(scheme, layer=_dotted(scheme.layer), directions=(forward, backward))
    pattern = re.compile(rf"(?:.*?\.)??(?P<own>{scheme.pattern(tuple(dotted)).pattern})")
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = pattern.fullmatch(_dotted(name))
        if match:
            own, base = match["own"], match["base"]
            around = (
                own.replace(base, "{}", 1) if scheme.at == "suffix" else own[: -len(base)] + "{}"
            )
            if "/" in dialect.scheme.layer:
                around = around.replace(".", "/")
            path = name[: len(name) - len(own)].rstrip("./")
            found.setdefault(path, {})[around.replace("{}", dotted[base])] = name
    return found


def _dotted(name: str) -> str:
    return name.replace("/", ".")


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


def described(dialect: Dialect, metadata: Mapping[str, str]) -> Meant | None:
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
    return Meant(found, reverse)


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

    Raises InputError for what no dialect can store: a cell of one's own, or a projected one;
    layers that are joined.
    """
    if KEY not in metadata:
        return None
    try:
        header = json.loads(metadata[KEY])
        said, connect = header["cell"]["equations"], header.get("model", {}).get("connect")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if connect:
        raise InputError(f"a checkpoint whose layers are joined ({connect!r:.20}), as no dialect's")
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
