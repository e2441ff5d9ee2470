"""The network that the page shows, a small model where none is named, and texts read with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grus import runtime
from grus.builds import Chain, Model
from grus.equations import CELLS, Cell, held_at, hold_weights
from grus.equations.flat import gates
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.models import LanguageModel, Vocabulary


Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class CharacterNetwork:
    """Embedding, recurrent layers and the linear map to the next character's scores.

    ``layers[k]`` are the weights of a layer of ``hidden`` units by family, in the cell's order.
    ``features`` [symbols, input]: row k is what the first layer gets for symbol k.
    ``linear`` [symbols, hidden] and ``bias`` [symbols] turn the last layer's output into scores.
    All arrays share one dtype, float32 or float64.
    """

    cell: Cell
    layers: tuple[Mapping[str, Array], ...]
    hidden: int
    features: Array
    linear: Array
    bias: Array
    vocabulary: Vocabulary

    @property
    def gates(self) -> tuple[str, ...]:
        """Values between 0 and 1, which may be held."""
        return gates(self.cell)

    def held(self, values: Mapping[str, float]) -> CharacterNetwork:
        """The same network with gates held at numbers in every layer; itself without any.

        Raises CellError as `grus.hold` does.
        """
        if not values:
            return self
        cell = held_at(self.cell, values)
        layers = tuple(hold_weights(self.cell, cell, weights) for weights in self.layers)
        return replace(self, cell=cell, layers=layers)

    @property
    def zeros(self) -> tuple[Array, ...]:
        """The states before the first step, each [hidden]."""
        return tuple(np.zeros(self.hidden, self.features.dtype) for _ in self.cell.states)

    def probabilities(self, output: Array) -> Array:
        """Of each symbol to come next, float64 [time, symbols], from the last layer's output."""
        scores = output.astype(np.float64) @ self.linear.T + self.bias
        above = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(above / above.sum(axis=1, keepdims=True))


def from_model(model: LanguageModel) -> CharacterNetwork:
    """The arrays of a trained model, copied. Raises InputError for one whose layers are joined."""
    architecture = model.architecture
    if architecture.connect:
        raise InputError(
            f"the page reads plain stacks, and this model is {architecture.connect}: grus trace"
        )
    state = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
    linear = state["linear.weight"]
    features = np.eye(len(architecture.vocabulary), dtype=linear.dtype)
    layers = tuple(
        {f: w.detach().numpy().copy() for f, w in layer.layer_weights(0).items()}  # type: ignore[operator]
        for layer in model.layers
    )
    return CharacterNetwork(
        architecture.cell,
        layers,
        architecture.hidden,
        state.get("embedding.weight", features),
        linear,
        state["linear.bias"],
        architecture.vocabulary,
    )


def to_build(network: CharacterNetwork) -> Model:
    """The network as `grus build` takes it, in float32."""
    chain, vocabulary = Chain(), network.vocabulary
    inputs = network.features.shape[1]
    if not np.array_equal(network.features, np.eye(len(vocabulary))):
        chain = chain.looked_up("embedding", network.features)
    for number, weights in enumerate(network.layers):
        chain = chain.recurrent(f"layers.{number}", network.cell, weights, inputs)
        inputs = chain.outputs
    model = chain.linear("linear", network.linear, network.bias).model()
    return replace(model, symbols=tuple(vocabulary.symbols), unit=vocabulary.unit)


class TextReading:
    """The values that a network computed for a text so far.

    When the text changes, only what comes after its unchanged beginning is computed: the state is
    carried. The kernels run one step after another, so the bits are those of reading it whole.
    """

    def __init__(self, network: CharacterNetwork) -> None:
        self.network = network
        self.ids = np.zeros(0, np.int64)
        count = len(network.layers)
        self.inputs: list[Array] = [np.zeros((0, 0))] * count
        self.values: list[dict[str, Array]] = [{} for _ in range(count)]
        self.computed = 0
        """Steps that the last `read` computed; the others were kept."""

    def read(self, ids: Array) -> None:
        """Make the text ``ids``, int64 [time]."""
        shared = min(len(ids), len(self.ids))
        differ = np.flatnonzero(ids[:shared] != self.ids[:shared])
        kept = int(differ[0]) if len(differ) else shared
        self._cut(kept)
        self.computed = len(ids) - kept
        if self.computed:
            self._extend(ids[kept:])
        self.ids = ids.copy()

    def state(self, layer: int, step: int) -> tuple[Array, ...]:
        """The states that ``step`` of a layer found, each [hidden]."""
        if step == 0:
            return self.network.zeros
        states = self.network.cell.states
        return tuple(self.values[layer][f"{name}_next"][step - 1] for name in states)

    def output(self, layer: int = -1) -> Array:
        """The output of a layer, [time, hidden]; of the last layer by default."""
        return self.values[layer][self.network.cell.output]

    def _cut(self, steps: int) -> None:
        self.inputs = [x[:steps] for x in self.inputs]
        self.values = [{n: v[:steps] for n, v in values.items()} for values in self.values]

    def _extend(self, ids: Array) -> None:
        network = self.network
        x = network.features[ids]
        for k, weights in enumerate(network.layers):
            values = self.values[k]
            start = tuple(state[None] for state in self.state(k, len(self.inputs[k])))
            new, _ = runtime.values(network.cell, weights, x[:, None], start, threads=1)
            rows = {name: value[:, 0] for name, value in new.items()}
            had = len(self.inputs[k]) > 0
            self.inputs[k] = np.concatenate([self.inputs[k], x]) if had else x
            self.values[k] = {
                name: np.concatenate([values[name], value]) if had else value
                for name, value in rows.items()
            }
            x = rows[network.cell.output]


SECONDS = 10.0
CHARACTERS = 400_000
RATE = 0.006


def small_model(watch: Callable[[float, float], None], seconds: float = SECONDS) -> LanguageModel:
    """A GRU of 64 units, trained for about ``seconds`` without a file being read or written.

    ``watch`` is told the share of the time that is spent and the loss of the last step, in nats
    per character. How far it gets depends on the machine; the learning rate falls to 0.
    """
    import torch

    from grus.models import (
        Architecture,
        LanguageModel,
        Settings,
        Source,
        Streams,
        learn,
        make_optimizer,
        read,
    )

    settings = Settings(seconds=seconds, seq_len=32, lr=RATE, dropout=0.0)
    text = read(Source(first=CHARACTERS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = LanguageModel(Architecture(CELLS["gru"], text.vocabulary, hidden=64, embedding=32))
    optimizer = make_optimizer(list(model.parameters()), settings)
    streams = Streams(torch.from_numpy(text.ids), settings.batch, settings.seq_len)
    began, spent, state = 0.0, 0.0, None
    while spent < 1:
        for x, y in zip(*streams.epoch(0), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - spent)
            loss, state = learn(model, optimizer, x, y, state, settings.clip, None)
            began = began or time.monotonic()  # compiling, in the first step, does not count
            spent = (time.monotonic() - began) / seconds
            watch(min(spent, 1.0), float(loss))
            if spent >= 1:
                break
        state = None
    return model.eval()
