"""A character model as arrays: what the page reads text with. Torch is only what it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.equations import Cell, held_at, hold_weights
from grus.equations.flat import gates

if TYPE_CHECKING:
    from grus.models.language import LanguageModel
    from grus.models.text import Vocabulary

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
        layers = tuple(hold_weights(self.cell, cell, one) for one in self.layers)
        return replace(self, cell=cell, layers=layers)

    @property
    def zeros(self) -> tuple[Array, ...]:
        """The states before the first step, each [hidden]."""
        return tuple(np.zeros(self.hidden, self.features.dtype) for _ in self.cell.states)

    def probabilities(self, output: Array) -> Array:
        """Of each symbol to come next, float64 [time, symbols], from the last layer's output."""
        scores = output.astype(np.float64) @ self.linear.T + self.bias
        above = np.exp(scores - scores.max(axis=1, keepdims=True))
        found: Array = above / above.sum(axis=1, keepdims=True)
        return found


def from_model(model: LanguageModel) -> CharacterNetwork:
    """The arrays of a trained model, copied."""
    architecture = model.architecture
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
