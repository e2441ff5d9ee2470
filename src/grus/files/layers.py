"""The recurrent layers of a weight file: where they are, and whose dialect they can be."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grus.dialects.dialect import Dialect, Meant
from grus.dialects.network import Network
from grus.dialects.records import DIALECTS
from grus.dialects.stored_network import Incomplete, check_order
from grus.errors import InputError
from grus.files import description, keras_config, keras_proof
from grus.files.description import places, spellings
from grus.weight_file import Array, Contents

OPTIMIZER = re.compile(r"(?:^|[./_])(?:optim\w*|adam\w*|callbacks)[./]", re.IGNORECASE)
"""What stands in the names of an optimiser's tensors, which are no weights."""
FRAMEWORKS = {"onnx": "onnx", "rtneural": "keras"}
"""Formats of one framework."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A dialect, the network that the tensors are in it, and they by its names for them."""

    dialect: Dialect
    network: Network
    tensors: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Layer:
    """A recurrent layer of a file, or a stack that one path names.

    ``fits`` are the dialects whose names and shapes fit; where two give the same network the
    first stands for both. ``names`` are its tensors' names in the file. ``fault`` says why the
    layer cannot be read although it is one: it is whole and understood, or it is refused.
    ``final`` is a fault that no other dialect's reading mends.
    """

    path: str
    names: tuple[str, ...]
    fits: tuple[Reading, ...]
    notes: tuple[str, ...] = ()
    fault: str = ""
    final: bool = False

    @property
    def shown(self) -> str:
        """The path as a person writes it: . where the tensors stand at the top."""
        return self.path or "."

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What fits. Raises InputError for a layer that is not whole, or not understood."""
        if self.fault:
            raise InputError(f"the layer at {self.shown}: {self.fault}")
        return self.fits


def find_layers(contents: Contents, among: Iterable[Dialect] | None = None) -> tuple[Layer, ...]:
    """The recurrent layers of a file that the dialects ``among`` can read, by path.

    What a configuration or a node's attributes say is held against the dialects; names and
    shapes decide the rest. ``among`` is what the caller knows (None: nothing): as those a layer
    is read of which a configuration says nothing, and refused without. A layer of which a tensor
    is missing, at whose path a tensor stands that its dialect does not have, whose weights are NaN
    or infinite, or whose settings no cell here has, raises InputError when its readings are asked
    for; other layers can be read.
    """
    names = spellings(contents.tensors)
    if description.KEY in contents.metadata:
        names = {k: n for k, n in names.items() if not n.startswith(description.OPTIMIZER)}
    found: dict[str, list[Layer]] = {}
    for dialect in _possible(contents, DIALECTS if among is None else among):
        for path, own in places(dialect, names).items():
            layer = _layer(
                contents, dialect, path, {w: names[n] for w, n in own.items()}, among is None
            )
            if layer is not None:
                found.setdefault(path, []).append(layer)
    if among is None:
        found |= {path: [Layer(path, (), (), fault=why)] for path, why in _unfound(contents, found)}
    ordered = sorted(found, key=_counted)
    return _understood(contents, names, [_fullest(contents, found[path]) for path in ordered])


def _unfound(contents: Contents, found: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The layers that the file describes and no dialect reads, each with the reason."""
    for path, settings in contents.described.items():
        both = settings["class_name"] == "Bidirectional"
        if path in found or path.rpartition("/")[0] in found or both:
            continue
        unread = ((n, w) for n, w in contents.unread.items() if n.rpartition("/")[0] == path)
        name, why = next(unread, ("", ""))
        tensors = f"it is described as {settings['class_name']}, and its tensors are not of one"
        yield path, f"{name[:120]} cannot be read: {why}" if why else tensors


def _layer(
    contents: Contents, dialect: Dialect, path: str, own: Mapping[str, str], among_all: bool
) -> Layer | None:
    """The layer that ``own``, the dialect's name -> the file's, are; None where they are none."""
    one_bias = dialect.is_without(own)
    # Of the frameworks that share these names Paddle alone has such layers: the caller must say.
    if not _has_matrices(dialect, own) or (dialect.either and one_bias and among_all):
        return None
    layer = Layer(path, tuple(own.values()), ())
    try:
        found = _read(contents, dialect, path, own, among_all)
    except Incomplete as error:
        paddle = "; Paddle's layers may lack one bias: --from paddle" if one_bias else ""
        return replace(layer, fault=f"{error}, and nothing can take its place{paddle}")
    except InputError as error:
        return replace(layer, fault=str(error), final=True)
    return replace(layer, fits=found[:1], notes=found[1]) if found else None


def _read(
    contents: Contents, dialect: Dialect, path: str, own: Mapping[str, str], among_all: bool
) -> tuple[Reading, tuple[str, ...]] | None:
    """The layer as one of the dialect, and notes; None where it is none of its.

    Raises Incomplete where a tensor is missing, InputError where the file says what cannot be.
    """
    if dialect.either and dialect.is_without(own):
        _check_names(contents, dialect, path)
    said = _settings(contents, dialect, path, own, among_all)
    if said is None:
        return None
    tensors = {name: contents.tensors[full] for name, full in own.items()}
    try:
        # NaN and infinity are refused later; two biases may add up to infinity.
        with np.errstate(over="ignore", invalid="ignore"):
            network = said.dialect.read(tensors, reverse=said.reverse)
    except Incomplete:
        raise
    except InputError:
        return None
    keras = contents.format in keras_config.FORMATS
    if keras and not keras_proof.is_stored_so(said.dialect, network, tensors):
        return None
    if all(np.isfinite(array).all() for array in tensors.values()):
        if keras:
            keras_proof.check(contents, path, network, tensors)
        elif contents.format == "onnx":
            from grus.onnx.described import check

            check(contents.described[path], network, tensors)
    return Reading(said.dialect, network, tensors), said.notes


def _check_names(contents: Contents, dialect: Dialect, path: str) -> None:
    """Raise InputError for a layer without a bias whose cells, which Paddle keeps beside, have it.

    Newer versions make the bias of zeros then, and call every tensor after it wrongly.
    """
    biases = "|".join(dialect.biased)
    cell = re.compile(rf"{re.escape(path)}[./]?0\.cell(?:_fw)?\.(?:{biases})")
    if sum(cell.fullmatch(name) is not None for name in contents.tensors) > 1:
        raise InputError(
            "it lacks a bias that its cells have, so Paddle gave its tensors wrong names: take"
            " --layer 0.cell"
        )


def _fullest(contents: Contents, every: Sequence[Layer]) -> Layer:
    """One layer of all that fit a path: those that use most of its tensors."""
    if refused := next((one for one in every if one.final), None):
        return refused
    whole = [one for one in every if not one.fault] or every
    most = max(len(one.names) for one in whole)
    fitting = [one for one in whole if len(one.names) == most]
    for name in fitting[0].names:
        if not np.isfinite(contents.tensors[name]).all():
            return replace(fitting[0], fits=(), fault=f"{name} holds NaN or infinity")
    return replace(fitting[0], fits=_distinct([fit for one in fitting for fit in one.fits]))


def _understood(
    contents: Contents, names: Mapping[str, str], layers: Sequence[Layer]
) -> tuple[Layer, ...]:
    """The layers, refused where a tensor that none of them has stands at the path of one."""
    used = {name for one in layers for name in one.names}
    unknown = {
        said: "no such tensor is known here, and without it the layer would be another"
        for said, name in names.items()
        if name not in used and contents.tensors[name].dtype.kind in "fc"
    } | dict(contents.unread)
    paths = {one.path for one in layers}
    faults: dict[str, str] = {}
    for name, why in sorted(unknown.items()):
        for path in paths.intersection(_stands_at(name, contents.format)):
            faults.setdefault(path, f"{name[:120]} stands at the layer's path: {why}")
    return tuple(replace(one, fault=one.fault or faults.get(one.path, "")) for one in layers)


def _stands_at(name: str, format: str) -> list[str]:
    """The paths at which a tensor stands: those that its name is below.

    A tensor of no path stands at the top, and so do torch's parametrizations. ONNX's names are no
    paths but for the node's own inputs.
    """
    above = [name[: at.start()] for at in re.finditer(r"[./]", name)]
    if format == "onnx":
        from grus.onnx.stored import INPUTS

        return [path for path in above if name[len(path) + 1 :] in INPUTS["LSTM"]]
    return above if above and above[0] != "parametrizations" else [*above, ""]


def only_reading(where: Path | str, layer: Layer, option: str) -> Reading:
    """The only dialect that a layer can be of; for several an InputError names ``option``, which
    says it, after ``where`` the layer stands."""
    if len(layer.readings) > 1:
        names = ", ".join(f"{r.dialect.name} ({r.dialect.title})" for r in layer.readings)
        raise InputError(
            f"{where}: names and shapes at {layer.shown} fit several dialects that compute"
            f" different things; say with {option} which of them it is: {names}"
        )
    return layer.readings[0]


def ending(path: str, known: Iterable[str]) -> list[str]:
    """Those of ``known`` that are the path, else those that end with it after a / or a dot."""
    asked, every = path.strip("/"), list(known)
    same = [one for one in every if one == asked]
    return same or [one for one in every if asked and one.endswith((f"/{asked}", f".{asked}"))]


def _counted(path: str) -> list[tuple[int, str]]:
    """A path's sort key in which gru_2 comes before gru_10."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d{0,18})", path)]


def _possible(contents: Contents, among: Iterable[Dialect]) -> list[Dialect]:
    """The dialects that such a file can be in."""
    every = [dialect for dialect in among if dialect.tensors]
    own = description.cell_of(contents.metadata)
    if own is not None:
        return [description.torch_layout(own)]
    if contents.format in FRAMEWORKS:
        return [one for one in every if one.framework == FRAMEWORKS[contents.format]]
    if contents.format in keras_config.FORMATS:
        return [dialect for dialect in every if dialect.framework.startswith("keras")]
    return every


def _settings(
    contents: Contents, dialect: Dialect, path: str, own: Collection[str], among_all: bool
) -> Meant | None:
    """The dialect with what the file says of this layer; None where it says it is another's."""
    said = contents.described.get(path, {})
    if contents.format == "onnx":
        from grus.onnx.described import by_onnx

        return by_onnx(dialect, said) if said else None
    if contents.format in keras_config.FORMATS:
        return keras_config.by_keras(contents, dialect, path, own, among_all)
    if description.WRITTEN_BY in contents.metadata:
        return description.described(dialect, contents.metadata)
    return Meant(dialect)


def _has_matrices(dialect: Dialect, own: Iterable[str]) -> bool:
    """True where the dialect's matrices are among the names; a lone bias says nothing."""
    return all(any(t.name in name for name in own) for t in dialect.tensors if t.matrix)


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


def stacked(readings: Sequence[Reading]) -> Network:
    """One network of several layers, each on top of the one before.

    Raises InputError where they are not of one cell, or do not fit on one another.
    """
    networks = [one.network for one in readings]
    first = networks[0]
    if len(networks) == 1:
        return first
    if any(one.cell != first.cell or one.reverse != first.reverse for one in networks):
        raise InputError("the layers to stack are not of one cell")
    check_order(readings[0].dialect, first.reverse)
    pairs = tuple(pair for one in networks for pair in one.pairs or ((None,) * one.directions,))
    layers = tuple(layer for one in networks for layer in one.layers)
    kept = pairs if any(p is not None for one in pairs for p in one) else ()
    return replace(first, layers=layers, pairs=kept)
