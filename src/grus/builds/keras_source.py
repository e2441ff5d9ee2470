"""A Keras model as a chain of layers: its configuration says their order, its file their weights.

RTNeural's models are read so too: `files.json_file` words them as a Sequential.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.builds.activations import KERAS, LOGITS, refused
from grus.builds.chain import Chain
from grus.builds.file_layers import add_stored, only_forward
from grus.builds.model import Model
from grus.errors import InputError
from grus.files import Layer, keras_config
from grus.files.keras_config import MODELS, inner_of, kind_of, members, name_of
from grus.weight_file import Array, Contents, one_line

KEPT = (
    *("InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "Identity"),
    *("AlphaDropout", "ActivityRegularization"),
)
"""What changes nothing in inference."""
LAST = "the model gives the last step alone: read y after it"
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
FUNCTIONS = ("ReLU", "LeakyReLU", "ELU", "Softmax")
"""Layers that are activations."""


@dataclass(frozen=True)
class KerasLayer:
    """A layer of the configuration, in the order in which data goes through it."""

    path: str
    """Where Keras 3 keeps its variables."""
    names: tuple[str, ...]
    """Its own name and those of the models around it, the outermost first."""
    kind: str
    settings: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """Its name, for messages."""
        return one_line(self.names[-1] or self.path)[:80]


def read_keras(contents: Contents, recurrent: Sequence[Layer], option: str, logits: bool) -> Model:
    """The chain of the model in ``contents``, whose recurrent layers `find_layers` gave. Raises
    InputError naming the layer that cannot be built."""
    try:
        config = json.loads(contents.configuration)
        layers = list(_in_order(kind_of(config), inner_of(config), "", ()))
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, InputError) else ""
        raise InputError(f"its configuration is no chain of layers{reason}") from None
    reading = _Reading(contents, recurrent, option, logits)
    chain = Chain()
    for layer in layers:
        chain = reading.added(chain, layer)
    return chain.noted(*contents.notes).model()


def _in_order(kind: str, config: Any, path: str, around: tuple[str, ...]) -> Iterator[KerasLayer]:
    """The layers of a model, those of models in it among them."""
    if kind not in MODELS:
        raise InputError(f"it is a {one_line(kind)[:40] or 'class of its own'}, no model of Keras'")
    for layer, at in _sorted(members(config, path)):
        inside, names = kind_of(layer), (*around, name_of(layer))
        if inside in MODELS:
            yield from _in_order(inside, inner_of(layer), at, names)
        else:
            own_class = inside or one_line(str(layer.get("class_name")))[:40]
            settings = inner_of(layer)
            yield KerasLayer(at, names, own_class, settings if isinstance(settings, dict) else {})


def _sorted(layers: list[tuple[Mapping[str, Any], str]]) -> list[tuple[Mapping[str, Any], str]]:
    """In the order of the data. Raises InputError for a graph that is no chain."""
    parents = {name_of(layer): list(_parents(layer.get("inbound_nodes"))) for layer, _ in layers}
    if not any(parents.values()):
        return layers
    below: dict[str, str] = {}
    for name, read in parents.items():
        odd = (
            "reads several layers"
            if len(read) > 1
            else "reads a state"
            if read[0:1] and read[0][1]
            else ""
        )
        if read and read[0][0] in below:
            odd = f"reads {read[0][0]}, as {below[read[0][0]]} does: two branches"
        if odd:
            raise InputError(f"{one_line(name)[:80]} {one_line(odd)[:200]}")
        if read:
            below[read[0][0]] = name
    by_name = {name_of(layer): (layer, at) for layer, at in layers}
    first = [name for name, read in parents.items() if not read]
    order = first[:1]
    while order[-1:] and order[-1] in below and len(order) < len(layers):
        order.append(below[order[-1]])
    if len(order) != len(layers) or not set(order) <= set(by_name):
        raise InputError("it has several inputs, or a layer that is used twice")
    return [by_name[name] for name in order]


def _parents(nodes: Any) -> Iterator[tuple[str, int]]:
    """What a layer reads: the name of a layer, and which of its outputs."""
    history = nodes.get("keras_history") if isinstance(nodes, Mapping) else nodes
    if isinstance(history, list) and len(history) >= 3 and isinstance(history[0], str):
        yield history[0], history[2] if isinstance(history[2], int) else 1
    elif isinstance(nodes, (list, Mapping)):
        for inner in nodes.values() if isinstance(nodes, Mapping) else nodes:
            yield from _parents(inner)


class _Reading:
    """Layers of one file added to a chain."""

    def __init__(
        self, contents: Contents, recurrent: Sequence[Layer], option: str, logits: bool
    ) -> None:
        self.contents, self.recurrent = contents, recurrent
        self.option, self.logits = option, logits

    def added(self, chain: Chain, layer: KerasLayer) -> Chain:
        """The chain with one more layer."""
        if layer.kind in KEPT:
            return chain
        if layer.kind in keras_config.LAYERS or layer.kind == "RNN":
            return self._recurrent(chain, layer)
        if layer.kind in FUNCTIONS:
            word = "softmax" if layer.kind == "Softmax" else layer.kind
            return self._activated(chain, layer, word)
        add = KINDS.get(layer.kind)
        if add is None:
            only_forward(layer.shown, layer.kind == "Bidirectional")
            raise refused(layer.shown, layer.kind)
        return add(self, chain, layer)

    def _recurrent(self, chain: Chain, layer: KerasLayer) -> Chain:
        known = [stored for stored in self.recurrent if self._is_at(stored.path, layer)]
        if len(known) != 1:
            raise InputError(f"{layer.shown}: its weights are not in the file")
        chain = add_stored(chain, layer.shown, known[0], self.option)
        steps = layer.settings.get("return_sequences")
        return chain if steps else chain.noted(LAST)

    def _dense(self, chain: Chain, layer: KerasLayer) -> Chain:
        bias = ("bias",) if layer.settings.get("use_bias", True) else ()
        kernel, *rest = self._variables(layer, "kernel", *bias)
        chain = chain.linear(layer.shown, kernel.T, *rest)
        return self._activated(chain, layer, layer.settings.get("activation"))

    def _time_distributed(self, chain: Chain, layer: KerasLayer) -> Chain:
        inner = layer.settings.get("layer")
        settings = inner_of(inner)
        known = settings if isinstance(settings, dict) else {}
        within = KerasLayer(f"{layer.path}/layer", layer.names, kind_of(inner), known)
        if within.kind != "Dense":
            raise refused(layer.shown, f"TimeDistributed({within.kind or 'a class of its own'})")
        return self._dense(chain, within)

    def _activation(self, chain: Chain, layer: KerasLayer) -> Chain:
        return self._activated(chain, layer, layer.settings.get("activation"))

    def _flattened(self, chain: Chain, layer: KerasLayer) -> Chain:
        if LAST not in chain.notes:
            raise InputError(
                f"{layer.shown}: Flatten over steps cannot be built: it needs them all"
            )
        return chain

    def _batch_norm(self, chain: Chain, layer: KerasLayer) -> Chain:
        parts, epsilon = self._norm(chain, layer, *NORM)
        with np.errstate(all="ignore"):  # what is no number is refused with its layer
            gain = parts["gamma"] / np.sqrt(parts["moving_variance"] + epsilon)
        return chain.scaled(layer.shown, gain, parts["beta"] - parts["moving_mean"] * gain)

    def _layer_norm(self, chain: Chain, layer: KerasLayer) -> Chain:
        parts, epsilon = self._norm(chain, layer, *NORM[:2])
        return chain.normed(layer.shown, parts["gamma"], parts["beta"], epsilon)

    def _norm(self, chain: Chain, layer: KerasLayer, *names: str) -> tuple[dict[str, Array], float]:
        """The variables of a norm in float64, gain 1 and shift 0 where it has none; epsilon."""
        settings, epsilon = layer.settings, layer.settings.get("epsilon", 1e-3)
        axes = (-1, [-1], 2, [2], *((1, [1]) if LAST in chain.notes else ()))
        if settings.get("axis", -1) not in axes or not isinstance(epsilon, float):
            raise InputError(f"{layer.shown}: a norm along another axis, or without epsilon")
        if settings.get("rms_scaling"):
            raise refused(layer.shown, "a norm with rms_scaling")
        switches = {"gamma": "scale", "beta": "center"}
        stored = [name for name in names if settings.get(switches.get(name, ""), True)]
        arrays = self._variables(layer, *stored)
        size = arrays[0].size if arrays else chain.outputs
        if any(array.shape != (size,) for array in arrays):
            raise InputError(f"{layer.shown}: its variables are not of {size} numbers each")
        plain = {"gamma": np.ones(size), "beta": np.zeros(size)}
        wide = {n: a.astype(np.float64) for n, a in zip(stored, arrays, strict=True)}
        return plain | wide, epsilon

    def _embedding(self, chain: Chain, layer: KerasLayer) -> Chain:
        (table,) = self._variables(layer, "embeddings")
        return chain.looked_up(layer.shown, table)

    def _masking(self, chain: Chain, layer: KerasLayer) -> Chain:
        return chain.noted(f"{layer.shown}: no step is masked: give none that is to be skipped")

    def _activated(self, chain: Chain, layer: KerasLayer, word: Any) -> Chain:
        """An activation by Keras' word for it."""
        where = layer.shown
        if word in (None, "linear", ""):
            return chain
        if not isinstance(word, str):
            raise InputError(f"{where}: its activation is a function of somebody's own")
        if word in LOGITS and self.logits:
            return chain.without(where, word)
        new = self.contents.metadata.get(keras_config.ERA) == "3"
        known = KERAS.get("hard_sigmoid_2" if word == "hard_sigmoid" and not new else word)
        if known is None:
            raise refused(where, one_line(word)[:40])
        older = {"negative_slope": layer.settings.get("alpha")}
        settings = older | dict(layer.settings) if word == layer.kind else {}
        return chain.applied(where, known.function(where, settings), word)

    def _is_at(self, path: str, layer: KerasLayer) -> bool:
        """Whether a path of the file is the layer's: Keras 3's, or that of the .h5 before."""
        if path in (layer.path, layer.path.rpartition("/")[2], layer.names[-1]):
            return True
        parts = path.split("/")
        return parts[:2] == ["model_weights", layer.names[0]] and layer.names[-1] in parts

    def _variables(self, layer: KerasLayer, *names: str) -> list[Array]:
        """The layer's variables, which Keras 3 and RTNeural number in this order."""
        arrays = []
        for number, name in enumerate(names):
            tails = (f"/vars/{number}", f".{number}", f"/{name}", f"/{name}:0")
            fits = [
                stored
                for stored in self.contents.tensors
                for tail in tails
                if stored.endswith(tail) and self._is_at(stored.removesuffix(tail), layer)
            ]
            if len(fits) != 1:
                raise InputError(f"{layer.shown}: its {name} is not in the file")
            arrays.append(self.contents.tensors[fits[0]])
        return arrays


KINDS: dict[str, Callable[[_Reading, Chain, KerasLayer], Chain]] = {
    "Dense": _Reading._dense,
    "TimeDistributed": _Reading._time_distributed,
    "Activation": _Reading._activation,
    "Flatten": _Reading._flattened,
    "BatchNormalization": _Reading._batch_norm,
    "LayerNormalization": _Reading._layer_norm,
    "Embedding": _Reading._embedding,
    "Masking": _Reading._masking,
}
