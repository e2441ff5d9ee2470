"""Writing what was converted: each format in its own way, whole or not at all, read back first."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grus.atomic_file import replace as replace_file
from grus.dialects.activation import USUAL, Activation, Activations
from grus.dialects.conversion import Converted, distance
from grus.dialects.dialect import Dialect
from grus.dialects.network import Network
from grus.errors import InputError
from grus.files import json_file, keras_write, npz, safetensors_file, torch_file
from grus.files.description import describe
from grus.files.keras_write import KerasLayer
from grus.files.layers import find_layers, same_network, stacked
from grus.files.reading import load


@dataclass(frozen=True)
class Writer:
    """How a format is written; ``framework`` is the one whose format it is, "" where anybody's."""

    content: Callable[[Converted, Network], bytes]
    framework: str = ""
    usual: str = ""
    """The dialect that is meant where none is named; "" where one must be."""


def _onnx(done: Converted, network: Network) -> bytes:
    from grus.onnx.export import to_model
    from grus.onnx.modules import Given

    held = replace(network, cell=_in_single(done.target).cell)
    return bytes(to_model(Given(held, turned=done.turned)).SerializeToString())


def _json(done: Converted, network: Network) -> bytes:
    layers = _keras(done, network) if done.target.framework == "keras" else []
    return json_file.content(done.target, done.tensors, layers)


WRITERS = {
    ".safetensors": Writer(
        lambda done, net: safetensors_file.content(done.tensors, describe(done.target, net.reverse))
    ),
    ".npz": Writer(lambda done, _: npz.content(done.tensors)),
    ".pt": Writer(lambda done, _: torch_file.content(done.tensors), usual="torch"),
    ".pth": Writer(lambda done, _: torch_file.content(done.tensors), usual="torch"),
    ".weights.h5": Writer(
        lambda done, net: keras_write.weights(_keras(done, net)), "keras", "keras"
    ),
    ".keras": Writer(lambda done, net: keras_write.archive(_keras(done, net)), "keras", "keras"),
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
