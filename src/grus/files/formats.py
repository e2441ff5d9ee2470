"""Weight files by the ending of their names: read whatever wrote them, and written whole or not at
all, read back first.

Weights that PyTorch keeps as parts (weight norm, spectral norm, pruning, dropped connections) are
put together as the module computes them in evaluation, in float64, rounded once. The names are
those of ``torch.nn.utils`` 2.13 (and of fastai 2 for ``_raw``).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.atomic_file import replace as replace_file
from grus.dialects.activation import USUAL, Activation, Activations
from grus.dialects.conversion import Converted, distance
from grus.dialects.dialect import Dialect
from grus.dialects.network import Network
from grus.errors import InputError
from grus.files.description import describe
from grus.files.layers import find_layers, same_network, stacked
from grus.weight_file import Array, Contents

if TYPE_CHECKING:
    from grus.files.keras_write import KerasLayer


OWN = r"(?P<at>(?:.*[./])?){}(?P<own>(?:weight|bias)\w*?)"
NAMES = (
    re.compile(OWN.format(r"parametrizations[./]") + r"(?P<part>[./](?:original[01]?|\d+[./].+))"),
    re.compile(OWN.format("") + r"(?P<part>_g|_v|_u|_orig|_mask|_raw)"),
)


@dataclass(frozen=True)
class PartsForm:
    """How a weight is kept as parts, and how these are put together."""

    parts: tuple[str, ...]
    said: str
    joined: Callable[..., Array]


def weight_norm(length: Array, direction: Array) -> Array:
    """length * direction / |direction|; the norm is over the axes along which length is 1."""
    axes = tuple(
        k for k, n in enumerate(direction.shape) if length.ndim == 0 or length.shape[k] < n
    )
    found: Array = direction * (length / np.sqrt((direction**2).sum(axes, keepdims=True)))
    return found


def spectral_norm(weight: Array, u: Array, v: Array) -> Array:
    """weight / (u^T weight v); u is as long as the axis that counts as rows."""
    rows = weight if len(u) == weight.shape[0] else weight.T
    found: Array = weight / (u @ (rows @ v))
    return found


FORMS = (
    PartsForm(("_g", "_v"), "weight_norm", weight_norm),
    PartsForm((".original0", ".original1"), "weight_norm", weight_norm),
    PartsForm(("_orig", "_u", "_v"), "spectral_norm", spectral_norm),
    PartsForm((".original", ".0._u", ".0._v"), "spectral_norm", spectral_norm),
    PartsForm(("_orig", "_mask"), "pruned", np.multiply),
    PartsForm(("_raw",), "raw, as it is without dropped connections", lambda raw: raw),
)


def folded(contents: Contents) -> Contents:
    """The contents with every weight whole that a known form keeps as parts.

    What is kept as parts otherwise is named in ``unread``, so that its layer is refused.
    """
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for name in contents.tensors:
        found = NAMES[0].fullmatch(name) or NAMES[1].fullmatch(name)
        if found:
            part = found["part"].replace("/", ".")
            groups.setdefault((found["at"], found["own"]), {})[part] = name
    tensors, unread, notes = dict(contents.tensors), dict(contents.unread), list(contents.notes)
    for (at, own), parts in groups.items():
        form = next((one for one in FORMS if set(one.parts) == set(parts)), None)
        whole = None if form is None else _joined(form, [tensors[parts[p]] for p in form.parts])
        if form is not None and whole is not None:
            path = at + ("module." if form.parts == ("_raw",) else "")
            for name in parts.values():
                del tensors[name]
            tensors[path + own] = whole
            notes.append(
                f"{path}{own} is put together from {', '.join(parts.values())}: {form.said}"
            )
        elif ".original" in parts or ".original0" in parts:
            for name in parts.values():
                del tensors[name]
            unread[at + own] = (
                "it is kept as parts of an unknown parametrization; call torch.nn.utils"
                f".parametrize.remove_parametrizations(module, {own!r}) and save again"
            )
    return replace(contents, tensors=tensors, unread=unread, notes=tuple(notes))


def _joined(form: PartsForm, parts: list[Array]) -> Array | None:
    """The whole weight; None where the shapes are not those of the form."""
    if any(part.dtype.kind != "f" for part in parts):
        return None
    kind = np.result_type(*parts)
    try:
        with np.errstate(all="ignore"):  # what is no number is refused with its layer
            whole = form.joined(*(part.astype(np.float64) for part in parts)).astype(kind)
    except (ValueError, IndexError):
        return None
    return whole if whole.shape in [part.shape for part in parts] else None


READERS = {
    ".safetensors": "grus.files.safetensors_file:read",
    ".npz": "grus.files.npz:read",
    ".keras": "grus.files.keras_file:read",
    ".h5": "grus.files.keras_file:read_hdf5",
    ".hdf5": "grus.files.keras_file:read_hdf5",
    ".onnx": "grus.onnx.stored:read",
    ".json": "grus.files.json_file:read",
} | dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".tar"), "grus.files.torch_file:read")
"""Ending of a file's name -> its reader, loaded for a file of it. Lightning writes .ckpt,
Hugging Face .bin, others .pth.tar: all of them torch.save's format."""


def load(path: Path | str) -> Contents:
    """The tensors of a weight file: .safetensors, .pt, .npz, .h5, .keras, .onnx or .json.

    Weights that torch keeps as parts (weight norm, spectral norm, pruning) are put together. The
    file may be anyone's: see the package's description for what is refused. .h5 and .keras
    need h5py, .onnx needs onnx.

    Raises InputError, beginning with the path, for a file that is not there, of an unknown
    ending, damaged, or more than weights.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: a weight file ends in one of {', '.join(READERS)}")
    module, name = READERS[path.suffix.lower()].split(":")
    if not path.is_file():
        raise InputError(f"{path} not found, or no file")
    try:
        return folded(getattr(import_module(module), name)(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True)
class Writer:
    """How a format is written; ``framework`` is the one whose format it is, "" where anybody's."""

    content: Callable[[Converted, Network], bytes]
    framework: str = ""
    usual: str = ""
    """The dialect that is meant where none is named; "" where one must be."""


def _onnx(done: Converted, network: Network) -> bytes:
    from grus.onnx.export import to_model
    from grus.onnx.network_graph import ModuleNetwork

    held = replace(network, cell=_in_single(done.target).cell)
    return bytes(to_model(ModuleNetwork(held, turned=done.turned)).SerializeToString())


def _json(done: Converted, network: Network) -> bytes:
    layers = _keras(done, network) if done.target.framework == "keras" else []
    return _bytes("json_file:content", done.target, done.tensors, layers)


def _bytes(place: str, *of: Any) -> bytes:
    """What a format's function makes of these; its file is loaded for a file of that format."""
    name, function = place.split(":")
    made: bytes = getattr(import_module(f"grus.files.{name}"), function)(*of)
    return made


def _state_dict(done: Converted, network: Network) -> bytes:
    return _bytes("torch_file:content", done.tensors)


WRITERS = {
    ".safetensors": Writer(
        lambda done, net: _bytes(
            "safetensors_file:content", done.tensors, describe(done.target, net.reverse)
        )
    ),
    ".npz": Writer(lambda done, _: _bytes("npz:content", done.tensors)),
    ".pt": Writer(_state_dict, usual="torch"),
    ".pth": Writer(_state_dict, usual="torch"),
    ".weights.h5": Writer(
        lambda done, net: _bytes("keras_write:weights", _keras(done, net)), "keras", "keras"
    ),
    ".keras": Writer(
        lambda done, net: _bytes("keras_write:archive", _keras(done, net)), "keras", "keras"
    ),
    ".onnx": Writer(_onnx, "onnx", "onnx"),
    ".json": Writer(_json, usual="keras"),
}
"""Ending of a file's name -> how it is written."""


def writer(path: Path) -> Writer:
    """The writer for a file of that name. Raises InputError naming the endings there are."""
    for ending, found in WRITERS.items():
        if path.name.lower().endswith(ending):
            return found
    raise InputError(f"{path}: what is written ends in one of {', '.join(WRITERS)}")


@dataclass(frozen=True)
class Saved:
    """A file that was written."""

    size: int
    """In bytes."""
    difference: float
    """The largest difference between the network that was converted and the one that the file
    holds, both run in float64 over random x and initial states."""


def save(path: Path | str, done: Converted) -> Saved:
    """Write what was converted.

    The file is first written elsewhere and read back: it must hold the same numbers, bit for bit.
    Then it appears whole, or not at all. Raises InputError where the format is not the target's,
    or the path cannot be written.
    """
    path = Path(path)
    found = writer(path)
    if found.framework not in ("", done.target.framework):
        raise InputError(
            f"{path}: this format is {found.framework}'s own; {done.target.title} has no place in"
            " it. Write .safetensors or .npz"
        )
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{path} must be a file in a folder that exists")
    for name, array in done.tensors.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} would hold infinity, the sum of numbers too large")
    network = done.target.read(done.tensors, reverse=done.network.reverse)
    content = found.content(done, network)
    held = _read_back(path, content, done, network)
    replace_file(path, content)
    return Saved(len(content), distance(done.network, held))


def _read_back(path: Path, content: bytes, done: Converted, network: Network) -> Network:
    """The network that the bytes are, read as a file of that name.

    Raises ArithmeticError unless its numbers are those of ``network``.
    """
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / f"draft{path.suffix}"
        draft.write_bytes(content)
        contents = load(draft)
    if path.suffix in (".npz", ".pt", ".pth"):  # which say no more than the tensors
        held = done.target.read(contents.tensors, reverse=network.reverse)
    else:
        held = stacked([one.readings[0] for one in find_layers(contents, [done.target])])
    if path.suffix == ".onnx":
        network = replace(network, cell=_in_single(done.target).cell)
    if not same_network(held, network):
        raise ArithmeticError(f"{path}: what was to be written does not read back as itself")
    return held


def _in_single(target: Dialect) -> Dialect:
    """The dialect with alpha, beta and clip as ONNX keeps them, in float32."""
    chosen = target.activations
    found = {role: getattr(chosen, role) for role in ("gates", "candidate", "output")}
    for role, one in found.items():
        numbers = (None if n is None else float(np.float32(n)) for n in (one.alpha, one.beta))
        found[role] = Activation(one.name, *numbers)
    clip = None if chosen.clip is None else float(np.float32(chosen.clip))
    return replace(target, activations=Activations(**found, clip=clip))


def _keras(done: Converted, network: Network) -> list[KerasLayer]:
    """The target's tensors as Keras' layers, one for each layer of the network."""
    from grus.files.keras_write import KerasLayer

    target = done.target
    bases = [tensor.name for tensor in target.tensors]
    found = target.scheme.places(bases, done.tensors)
    directions = range(network.directions)
    return [
        KerasLayer(
            _class(target),
            _settings(target, network),
            [[done.tensors[found[k, d][base]] for base in bases] for d in directions],
        )
        for k in range(len(network.layers))
    ]


def _class(target: Dialect) -> str:
    return {"lstm": "LSTM", "rnn": "SimpleRNN", "rnn_relu": "SimpleRNN"}.get(
        target.cell_name, "GRU"
    )


def _settings(target: Dialect, network: Network) -> dict[str, object]:
    """The settings of a Keras layer that computes the target's cell."""
    kind, chosen = _class(target), target.activations
    words = {activation: word for word, activation in target.words.items()}
    relu = target.cell_name == "rnn_relu" and chosen == USUAL
    found: dict[str, object] = {"activation": "relu" if relu else words[chosen.candidate]}
    if kind != "SimpleRNN":
        found["recurrent_activation"] = words[chosen.gates]
    if kind == "GRU":
        found["reset_after"] = target.cell_name == "gru"
    if kind == "LSTM" and chosen.output != chosen.candidate:
        raise InputError(
            "Keras has one activation for an LSTM's candidate and output; these differ"
        )
    if network.reverse:
        found["go_backwards"] = True
    return found
