"""What a Keras configuration (JSON) says of its recurrent layers, by their places in the model.

A layer's settings stand in itself or in its cell, below any number of wrappers and models. Each
is matched with its weights by the whole path; a class that is not Keras' own says nothing here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grus.dialects.dialect import RNN_RELU, Dialect, Meant, cell_of
from grus.errors import InputError
from grus.weight_file import Contents

LAYERS = ("GRU", "LSTM", "SimpleRNN", "CuDNNGRU", "CuDNNLSTM")
CELLS = ("GRUCell", "LSTMCell", "SimpleRNNCell")
MODELS = ("Sequential", "Functional", "Model")
MODULES = ("keras", "tf_keras", "tensorflow")
OF_CELL = ("activation", "recurrent_activation", "inner_activation", "reset_after", "use_bias",
           "units", "output_dim")  # fmt: skip
OF_LAYER = ("go_backwards", "stateful", "return_sequences", "time_major", "zero_output_for_mask")
SIDES = ("forward", "backward")
ERA, CONFIGURED = "keras: which", "keras: its configuration is of version"
"""What a file's metadata say under these names: `era`, and that there is a configuration."""
Settings = dict[str, Any]


@dataclass(frozen=True)
class Leaf:
    """A recurrent layer of the configuration."""

    path: str
    """Where Keras 3 keeps it, but for /cell: layers/bidirectional/forward_layer."""
    names: tuple[str, ...]
    """Its own name and those of what is around it, the outermost first."""
    settings: Settings


@dataclass(frozen=True)
class Tree:
    """A configuration: its recurrent layers, and how the outputs of two directions are joined."""

    leaves: tuple[Leaf, ...] = ()
    merged: Mapping[str, str] = field(default_factory=dict)
    """Path of a Bidirectional -> its merge_mode."""


def era(version: str) -> str:
    """Which Keras a version is: "1", "2", "tf2" (tf.keras of TensorFlow 2), "3"; "" not told.

    Keras 2.3 was the last of its own; what came after is TensorFlow's. TensorFlow 1.5 to 1.12
    wrote 2.1.x-tf, TensorFlow 2.2 2.3.0-tf; 2.2.4-tf was written by 1.13 to 1.15 and by 2.0, 2.1.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found or version.startswith("2.2.4-tf"):
        return ""
    major, minor = map(int, found.groups())
    if major != 2:
        return "1" if major < 2 else "3"
    return "tf2" if minor >= (3 if version.endswith("-tf") else 4) else "2"


def tree(text: str | bytes) -> Tree:
    """The recurrent layers of a configuration. Raises InputError for what is no JSON."""
    merged: dict[str, str] = {}
    try:
        config = json.loads(text)
        return Tree(tuple(_inside(kind_of(config), inner_of(config), "", (), merged)), merged)
    except (ValueError, RecursionError):
        raise InputError("its configuration is not JSON, or nests too deep") from None


def snake(name: str) -> str:
    """The name that Keras gives a class in a file: GRU is gru, SimpleRNN is simple_rnn."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def unique(kinds: Sequence[str]) -> Iterator[str]:
    """The classes' names, with a number from the second of a class on."""
    met: dict[str, int] = {}
    for name in map(snake, kinds):
        yield name + (f"_{met[name]}" if name in met else "")
        met[name] = met.get(name, 0) + 1


def kind_of(value: Any) -> str:
    """The class of a layer or a model; "" for one that is not Keras' own, whatever it is called."""
    if not isinstance(value, Mapping):
        return ""
    module, registered = value.get("module", "keras"), value.get("registered_name")
    name = str(value.get("class_name"))
    theirs = str(module).split(".")[0] in MODULES and registered in (None, name)
    return name if theirs else ""


def inner_of(value: Any) -> Any:
    """Its settings."""
    return value.get("config") if isinstance(value, Mapping) else None


def members(config: Any, path: str = "") -> list[tuple[Mapping[str, Any], str]]:
    """The layers of a model's settings in their order, and where Keras 3 keeps each."""
    inside = config.get("layers") if isinstance(config, Mapping) else config
    every = inside if isinstance(inside, list) else []
    listed = [layer for layer in every if isinstance(layer, Mapping)]
    classes = [str(layer.get("class_name")).rpartition(">")[2] for layer in listed]
    places = [f"{path}/layers/{name}".lstrip("/") for name in unique(classes)]
    return list(zip(listed, places, strict=True))


def _inside(
    kind: str, config: Any, path: str, around: tuple[str, ...], merged: dict[str, str]
) -> Iterator[Leaf]:
    """The recurrent layers in a layer or model; ``around``: the names outside it."""
    if kind in MODELS:
        for one, at in members(config, path):
            yield from _inside(kind_of(one), inner_of(one), at, (*around, name_of(one)), merged)
        return
    if not isinstance(config, Mapping):
        return
    if kind in LAYERS:
        yield Leaf(path, around, {"class_name": kind} | _said(config, OF_CELL + OF_LAYER))
    elif kind == "RNN":
        yield from _cells(config, path, around)
    elif kind == "TimeDistributed":
        layer = config.get("layer")
        names = (*around, name_of(layer))
        yield from _inside(kind_of(layer), inner_of(layer), f"{path}/layer", names, merged)
    elif kind == "Bidirectional":
        merged[path] = str(config.get("merge_mode"))
        for side, layer in zip(SIDES, _sides(config), strict=True):
            names = (*around, f"{side}_{name_of(layer).removeprefix(f'{side}_')}", name_of(layer))
            yield from _inside(
                kind_of(layer), inner_of(layer), f"{path}/{side}_layer", names, merged
            )


def _cells(config: Mapping[str, Any], path: str, around: tuple[str, ...]) -> Iterator[Leaf]:
    """What an RNN runs: a cell, or cells on one another."""
    cell = config.get("cell")
    of_layer = _said(config, OF_LAYER)
    if kind_of(cell) in CELLS:
        settings = {"class_name": kind_of(cell).removesuffix("Cell")} | _said(
            inner_of(cell), OF_CELL
        )
        yield Leaf(path, around, settings | of_layer)
    elif kind_of(cell) == "StackedRNNCells":
        inside = [one for one in inner_of(cell).get("cells", ()) if isinstance(one, Mapping)]
        classes = [str(one.get("class_name")).rpartition(">")[2] for one in inside]
        for one, name in zip(inside, unique(classes), strict=True):
            if kind_of(one) in CELLS:
                settings = {"class_name": kind_of(one).removesuffix("Cell")}
                settings |= _said(inner_of(one), OF_CELL) | of_layer
                yield Leaf(f"{path}/cell/cells/{name}", (*around, name_of(one)), settings)


def _sides(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Both layers of a Bidirectional; without one of its own, the backward one is the mirror."""
    forward = config.get("layer")
    backward = config.get("backward_layer")
    if backward is None and isinstance(forward, Mapping):
        inner = inner_of(forward) or {}
        mirrored = {**inner, "go_backwards": not inner.get("go_backwards", False)}
        mirrored["name"] = str(inner.get("name")).removeprefix("forward_")
        backward = {**forward, "config": mirrored}
    return forward, backward


def name_of(value: Any) -> str:
    """Its own name; "" where there is none."""
    inner = inner_of(value)
    return str(inner.get("name")) if isinstance(inner, Mapping) else ""


def _said(config: Any, names: Sequence[str]) -> Settings:
    return {name: config[name] for name in names if name in (config or {})}


def legacy(leaves: Sequence[Leaf], folders: Sequence[str], group: str) -> dict[str, Leaf]:
    """Folder of weights -> its layer, in the .h5 files before Keras 3.

    The first folder below ``group`` is the name of one of the model's layers, and what stands
    below that says more or less of what is inside it: the layer is the one that most of these
    names name. Folders that no layer, or several, or one layer twice would explain are left out.
    """
    found: dict[str, Leaf] = {}
    for folder in folders:
        parts = folder.removeprefix(group).split("/")
        top = [one for one in leaves if one.names[0] == parts[0]]
        side = parts[-1].removesuffix("_layer") if parts[-1].endswith("_layer") else ""
        if side in SIDES:
            top = [one for one in top if f"/{side}_layer" in one.path]
        counts = [sum(name in parts for name in one.names) for one in top]
        best = [one for one, n in zip(top, counts, strict=True) if n == max(counts)]
        if len(best) == 1:
            found[folder] = best[0]
    once = [id(leaf) for leaf in found.values()]
    return {folder: leaf for folder, leaf in found.items() if once.count(id(leaf)) == 1}


FORMATS = ("keras", "h5")
HARD = "hard_sigmoid"
SIDE_LAYERS = ("forward_layer", "backward_layer")
RECORDS = {
    "1": ("keras_1", "keras_2"),
    "2": ("keras_2", "keras_cudnn"),
    "tf2": ("keras", "keras_cudnn"),
    "3": ("keras", "keras_cudnn"),
    "": ("keras", "keras_1", "keras_2", "keras_cudnn"),
}
"""Which Keras -> the dialects with the activations that its layers have by default."""


def by_keras(
    contents: Contents, dialect: Dialect, path: str, own: Collection[str], among_all: bool
) -> Meant | None:
    """``dialect`` with what the file says of the layer at ``path``; None where it is another's.

    ``own`` are the layer's tensors. Without a configuration in the file, the layer has the
    activations that its Keras has by default, or those of the dialect that the caller names
    (``among_all`` False). Raises InputError for a layer of which a configuration says nothing,
    unless the caller says whose it is; and for settings that no cell here has.
    """
    era, version = contents.metadata[ERA], contents.metadata.get("keras_version", "")
    if CONFIGURED not in contents.metadata:
        return _by_version(dialect, era, version, among_all)
    described = contents.described
    both = any(name.startswith(SIDE_LAYERS[1]) for name in own)
    paths = [f"{path}/{side}" for side in SIDE_LAYERS] if both else [path]
    known = [described[at] for at in paths if at in described]
    if len(known) < len(paths):
        if among_all:
            raise InputError(
                "the file's configuration does not say what this layer is: a class of somebody's"
                " own, or in one. Say with --from whose it is, and its settings where they are not"
                " the usual ones: --from keras, --from keras_lstm:activation=relu"
            )
        return Meant(dialect, notes=("its settings are what --from says",))
    lost = dialect.biased and not any(bias in name for bias in dialect.biased for name in own)
    if lost and any(settings.get("use_bias") is True for settings in known):
        raise InputError("its configuration says that it has a bias, which is not in the file")
    said = [_by_layer(dialect, one, era, among_all) for one in known]
    if not both or said[0] is None or said[1] is None:
        if both and said != [None, None]:
            raise InputError(DIFFERENT)
        return said[0]
    if said[0].dialect != said[1].dialect or (said[0].reverse, said[1].reverse) != (False, True):
        raise InputError(DIFFERENT)
    joined = _run_time({"merge_mode": described.get(path, {}).get("merge_mode", "concat")})
    return Meant(said[0].dialect, notes=(*joined, *said[0].notes))


DIFFERENT = (
    "a Bidirectional whose two layers have different settings, or run the other way round; no"
    " other framework has one"
)


def _by_version(dialect: Dialect, era: str, version: str, among_all: bool) -> Meant | None:
    """Weights alone: the dialects with the defaults of that Keras."""
    if not among_all:
        return Meant(dialect)
    # tf.compat.v1's GRU is Keras 2's; of what TensorFlow 2 makes by default it has the bias not.
    first = era == "tf2" and dialect.cell_name == "gru_reset_before"
    possible = (*RECORDS[era], *(("keras_2",) if first else ()))
    if dialect.framework not in possible and not dialect.cell_name.startswith("rnn"):
        return None
    note = f"the file has no configuration: activations are the defaults of Keras {version}"
    return Meant(dialect, notes=(note.rstrip(),))


def _by_layer(
    dialect: Dialect, said: Mapping[str, Any], era: str, among_all: bool = True
) -> Meant | None:
    """``dialect`` with the settings of a Keras layer; None where it is not that layer's.

    ``era`` is which Keras wrote them (`keras_config.era`); what they leave out is what that
    Keras takes. ``among_all``: of the records that could hold it, only the one whose own words
    say it. Raises InputError for an activation that no cell here has, and where the file does not
    tell which hard sigmoid is meant.
    """
    kind = said["class_name"]
    plain = kind.removeprefix("CuDNN")
    if (plain != kind) != (dialect.framework == "keras_cudnn"):
        return None
    new = plain != kind or era in ("tf2", "3")
    after = bool(said.get("reset_after", new))
    words = {
        "activation": said.get("activation", "tanh"),
        "recurrent_activation": said.get(
            "recurrent_activation", said.get("inner_activation", "sigmoid" if new else HARD)
        ),
    }
    if plain == "SimpleRNN":
        del words["recurrent_activation"]
    if dialect.cell_name != cell_of(plain, after, words["activation"] == "relu"):
        return None
    for name in words.values():
        if name is not None and not (isinstance(name, str) and name):
            raise InputError(f"a {kind} whose activation is a function of somebody's own")
    hard = HARD in words.values()
    if hard and not era and among_all:
        raise InputError(
            "a hard_sigmoid, and the file does not tell which: say --from keras (Keras 3,"
            " v / 6 + 0.5) or --from keras_2 (0.2 v + 0.5)"
        )
    old = hard and era != "3"
    others = {"keras": old, "keras_2": not old}
    if among_all and others.get(dialect.framework, False):
        return None
    return Meant(
        dialect.activated(**_roles(dialect, words, plain)),
        bool(said.get("go_backwards")),
        tuple(_run_time(said)),
    )


def _roles(dialect: Dialect, words: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The cell's activations; Keras' None is linear, and an LSTM uses its one twice."""
    named = {role: "linear" if word is None else word for role, word in words.items()}
    if dialect.cell_name == RNN_RELU:
        return {}
    chosen = {"candidate": named["activation"]}
    if "recurrent_activation" in named:
        chosen["gates"] = named["recurrent_activation"]
    if kind == "LSTM":
        chosen["output"] = named["activation"]
    return chosen


def _run_time(said: Mapping[str, Any]) -> Iterator[str]:
    """What the settings say that is no part of the weights, and what the caller must do."""
    if said.get("merge_mode", "concat") != "concat":
        yield f"merge_mode={said['merge_mode']!r}: join the two directions' outputs so yourself"
    if said.get("stateful"):
        yield "stateful=True: pass each batch's last state to the next one yourself"
    if said.get("return_sequences") is False:
        yield "return_sequences=False: what Keras gives is the final state, not every output"
    if said.get("time_major"):
        yield "time_major=True: Keras takes and gives [time, batch, ...]"
    if said.get("zero_output_for_mask"):
        yield "zero_output_for_mask=True: past a row's length Keras gives 0"
