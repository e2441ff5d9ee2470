"""The recurrent layers of a weight file: where they are, and whose dialect they can be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from grus.dialects.dialect import Dialect
from grus.dialects.files import checkpoint, description
from grus.dialects.files.contents import Array, Contents
from grus.dialects.files.naming import places, spelled
from grus.dialects.files.settings import Said, by_keras, by_onnx
from grus.dialects.network import Network
from grus.dialects.records import DIALECTS
from grus.errors import InputError

FRAMEWORKS = {"keras": ("keras",), "onnx": ("onnx",)}
"""Formats of one framework."""
KERAS_3 = "layers/"
"""What every layer's path begins with in Keras 3's own files."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A dialect, the network that the tensors are in it, and they by its names for them."""

    dialect: Dialect
    network: Network
    tensors: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Layer:
    """A recurrent layer of a file, or a stack that one path names.

    ``readings`` are the dialects whose names and shapes fit; where two give the same network the
    first stands for both. ``names`` are its tensors' names in the file.
    """

    path: str
    names: tuple[str, ...]
    readings: tuple[Reading, ...]
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The path as a person writes it: . where the tensors stand at the top."""
        return self.path or "."


def find_layers(contents: Contents, among: Iterable[Dialect] = DIALECTS) -> tuple[Layer, ...]:
    """The recurrent layers of a file that the dialects ``among`` can read, by path.

    What a configuration or a node's attributes say is held against the dialects; names and
    shapes decide the rest. Raises InputError for a layer whose weights are NaN or infinite, or
    whose settings no cell here has.
    """
    names = _spelled(contents.tensors)
    if checkpoint.KEY in contents.metadata:
        names = {k: n for k, n in names.items() if not n.startswith(checkpoint.OPTIMIZER)}
    found: dict[str, list[tuple[Reading, tuple[str, ...], tuple[str, ...]]]] = {}
    for dialect in _possible(contents, among):
        for path, own in places(dialect, names).items():
            tensors = {said: contents.tensors[names[name]] for said, name in own.items()}
            said = _settings(contents, dialect, path)
            if said is None or not _has_matrices(dialect, own):
                continue
            try:
                # NaN and infinity are refused below; two biases may add up to infinity.
                with np.errstate(over="ignore", invalid="ignore"):
                    network = said.dialect.read(tensors, reverse=said.reverse)
            except InputError:
                continue
            full = tuple(names[name] for name in own.values())
            reading = Reading(said.dialect, network, tensors)
            found.setdefault(path, []).append((reading, full, said.notes))
    layers = []
    for path, every in sorted(found.items(), key=lambda item: _counted(item[0])):
        most = max(len(full) for _, full, _ in every)
        fitting = [one for one in every if len(one[1]) == most]
        _, full, notes = fitting[0]
        _check_finite(contents, full)
        layers.append(Layer(path, full, _distinct([one for one, _, _ in fitting]), notes))
    return tuple(layers)


def _counted(path: str) -> list[tuple[int, str]]:
    """A path's sort key in which gru_2 comes before gru_10."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d{0,18})", path)]


def _spelled(tensors: Iterable[str]) -> dict[str, str]:
    """The name in the dialects' words -> the name in the file, where that is one to one."""
    found: dict[str, list[str]] = {}
    for name in tensors:
        found.setdefault(spelled(name), []).append(name)
    alone = {said: full[0] for said, full in found.items() if len(full) == 1}
    return alone | {name: name for full in found.values() if len(full) > 1 for name in full}


def _possible(contents: Contents, among: Iterable[Dialect]) -> list[Dialect]:
    """The dialects that such a file can be in."""
    every = [dialect for dialect in among if dialect.tensors]
    own = checkpoint.cell_of(contents.metadata)
    if own is not None:
        return [checkpoint.torch_layout(own)]
    frameworks: tuple[str, ...] = FRAMEWORKS.get(contents.format, ())
    if contents.format == "h5":
        new = any(name.startswith(KERAS_3) for name in contents.tensors)
        told = contents.metadata.get("keras_version", "")
        old = told.startswith(("1.", "2."))
        frameworks = ("keras",) if new or (told and not old) else ("keras", "keras_2")
        frameworks = ("keras_2",) if old else frameworks
    if frameworks:
        every = [dialect for dialect in every if dialect.framework in frameworks]
    return every


def _settings(contents: Contents, dialect: Dialect, path: str) -> Said | None:
    """The dialect with what the file says of this layer; None where it says it is another's."""
    said = contents.described.get(path, {})
    try:
        if contents.format == "onnx":
            return by_onnx(dialect, said) if said else None
        if said.get("class_name") == "Bidirectional":
            inner = contents.described.get(f"{path}/forward_layer") or _forward(contents, path)
            said = {**inner, "merge_mode": said.get("merge_mode", "concat")}
        if said.get("class_name"):
            return by_keras(dialect, {"reset_after": contents.format == "keras", **said})
        if description.WRITTEN_BY in contents.metadata:
            return description.described(dialect, contents.metadata)
    except InputError as error:
        raise InputError(f"{path or '.'}: {error}") from None
    return Said(dialect)


def _forward(contents: Contents, path: str) -> Mapping[str, object]:
    """What the configuration says of the forward layer of an old Bidirectional."""
    inner = (d for at, d in contents.described.items() if at.startswith(f"{path}/forward_"))
    return next(inner, {})


def _has_matrices(dialect: Dialect, own: Iterable[str]) -> bool:
    """True where the dialect's matrices are among the names; a lone bias says nothing."""
    return all(any(t.name in name for name in own) for t in dialect.tensors if t.matrix)


def _check_finite(contents: Contents, names: Sequence[str]) -> None:
    for name in names:
        if not np.isfinite(contents.tensors[name]).all():
            raise InputError(f"{name} holds NaN or infinity")


def _distinct(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """The readings that differ in what they compute, the first of each."""
    found: list[Reading] = []
    for one in readings:
        if not any(same_network(one.network, other.network) for other in found):
            found.append(one)
    return tuple(found)


def same_network(one: Network, other: Network) -> bool:
    """True where both compute the same from the same numbers."""
    if one.cell != other.cell or one.reverse != other.reverse:
        return False
    mine, theirs = _arrays(one), _arrays(other)
    return len(mine) == len(theirs) and all(
        name == known and np.array_equal(array, there)
        for (name, array), (known, there) in zip(mine, theirs, strict=True)
    )


def _arrays(network: Network) -> list[tuple[str, Array]]:
    return [item for layer in network.layers for weights in layer for item in weights.items()]


def stacked(networks: Sequence[Network]) -> Network:
    """One network of several, each on top of the one before.

    Raises InputError where they are not of one cell, or do not fit on one another.
    """
    first = networks[0]
    if len(networks) == 1:
        return first
    if any(one.cell != first.cell or one.reverse != first.reverse for one in networks):
        raise InputError("the layers to stack are not of one cell")
    pairs = tuple(pair for one in networks for pair in one.pairs or ((None,) * one.directions,))
    layers = tuple(layer for one in networks for layer in one.layers)
    kept = pairs if any(p is not None for one in pairs for p in one) else ()
    return replace(first, layers=layers, pairs=kept)
