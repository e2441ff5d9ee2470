"""The settings of Keras' layers, as the dialect that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from grus.dialects.dialect import Dialect
from grus.dialects.settings import RNN_RELU, Said, cell_of
from grus.errors import InputError
from grus.files.keras_config import CONFIGURED, ERA
from grus.weight_file import Contents

FORMATS = ("keras", "h5")
HARD = "hard_sigmoid"
SIDES = ("forward_layer", "backward_layer")
RECORDS = {
    "1": ("keras_1", "keras_2"),
    "2": ("keras_2", "keras_cudnn"),
    "tf2": ("keras", "keras_cudnn"),
    "3": ("keras", "keras_cudnn"),
    "": ("keras", "keras_1", "keras_2", "keras_cudnn"),
}
"""Which Keras -> the dialects with the activations that its layers have by default."""


def by_keras(
    contents: Contents, dialect: Dialect, path: str, own: Iterable[str], among_all: bool
) -> Said | None:
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
    both = any(name.startswith(SIDES[1]) for name in own)
    paths = [f"{path}/{side}" for side in SIDES] if both else [path]
    known = [described[at] for at in paths if at in described]
    if len(known) < len(paths):
        if among_all:
            raise InputError(
                "the file's configuration does not say what this layer is: a class of somebody's"
                " own, or in one. Say with --from whose it is, and its settings where they are not"
                " the usual ones: --from keras, --from keras_lstm:activation=relu"
            )
        return Said(dialect, notes=("its settings are what --from says",))
    said = [_by_layer(dialect, one, era, among_all) for one in known]
    if not both or said[0] is None or said[1] is None:
        if both and said != [None, None]:
            raise InputError(DIFFERENT)
        return said[0]
    if said[0].dialect != said[1].dialect or (said[0].reverse, said[1].reverse) != (False, True):
        raise InputError(DIFFERENT)
    joined = _run_time({"merge_mode": described.get(path, {}).get("merge_mode", "concat")})
    return Said(said[0].dialect, notes=(*joined, *said[0].notes))


DIFFERENT = (
    "a Bidirectional whose two layers have different settings, or run the other way round; no"
    " other framework has one"
)


def _by_version(dialect: Dialect, era: str, version: str, among_all: bool) -> Said | None:
    """Weights alone: the dialects with the defaults of that Keras."""
    if not among_all:
        return Said(dialect)
    # tf.compat.v1's GRU is Keras 2's; of what TensorFlow 2 makes by default it has the bias not.
    first = era == "tf2" and dialect.cell_name == "gru_reset_before"
    possible = (*RECORDS[era], *(("keras_2",) if first else ()))
    if dialect.framework not in possible and not dialect.cell_name.startswith("rnn"):
        return None
    note = f"the file has no configuration: activations are the defaults of Keras {version}"
    return Said(dialect, notes=(note.rstrip(),))


def _by_layer(
    dialect: Dialect, said: Mapping[str, Any], era: str, among_all: bool = True
) -> Said | None:
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
        if name is not None and not isinstance(name, str):
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
    return Said(
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
