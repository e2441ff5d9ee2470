"""The character model, and one with gates held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from grus.equations import held_at
from grus.errors import InputError
from grus.layers import Recurrent, run_dropped
from grus.layers.held import hold_layer
from grus.models.corpus import Architecture

LayerState = Tensor | tuple[Tensor, ...]
State = list[LayerState]
MakeLayer = Callable[[int, int], nn.Module]


class LanguageModel(nn.Module):
    """Scores for the next character after each one.

    Dropout is applied to the embedding (not to one-hot input) and to the output of every layer,
    so between layers and before the linear map. One mask per row is drawn for all time steps of a
    call (Gal & Ghahramani 2016, arXiv 1512.05287): as good as a fresh mask for every step, and
    drawing it costs next to nothing. Where the architecture joins its layers, a layer's output is
    dropped before it is joined.

    ``make_layer`` builds one recurrent layer from (input size, hidden size); the default is
    `grus.Recurrent` with the architecture's cell. Any module called as ``layer(x, state)`` on
    [time, batch, features] does, ``torch.nn.GRU`` for one, to compare the two in one loop; layers
    that are added or mixed must be grus' own (InputError).
    """

    def __init__(
        self,
        architecture: Architecture,
        dropout: float = 0.0,
        gate_bias: Mapping[str, float] | None = None,
        make_layer: MakeLayer | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.architecture, self.dropout = architecture, dropout
        kind: dict[str, Any] = {"device": device, "dtype": getattr(torch, architecture.dtype)}
        symbols, hidden = len(architecture.vocabulary), architecture.hidden

        # Each layer is a stack of its own, which adds or mixes; what is dense stands side by side.
        self._dense = architecture.connect == "dense"
        connect = "" if self._dense else architecture.connect
        options: dict[str, Any] = {"gate_bias": gate_bias, "connect": connect, **kind}

        def recurrent(inputs: int, hidden: int) -> nn.Module:
            return Recurrent(architecture.cell, inputs, hidden, **options)

        if make_layer is not None and connect:
            raise InputError(f"layers of make_layer are plain ones, which cannot be {connect}")
        make = make_layer or recurrent
        if architecture.input == "embedding":
            self.embedding = nn.Embedding(symbols, architecture.embedding, **kind)
        self.layers = nn.ModuleList(make(size, hidden) for size in architecture.reads)
        self.linear = nn.Linear(hidden, symbols, **kind)

    def forward(
        self, ids: Tensor, state: State | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Scores [time, batch, symbols] for what follows each of ``ids`` [time, batch].

        ``state`` holds one state per layer, None is zeros. In training mode dropout draws from
        ``generator``.
        """
        x = self.features(ids)
        if self.architecture.input == "embedding":
            x = self._drop(x, generator)
        after: State = []
        for k, layer in enumerate(self.layers):
            before = state[k] if state else None
            if self.training and self.dropout and isinstance(layer, Recurrent) and layer.connect:
                drop = partial(self._drop, generator=generator)
                y, layer_state = run_dropped(layer, x, before, drop)
            else:
                y, layer_state = layer(x, before)
                y = self._drop(y, generator)
            after.append(layer_state)
            x = self._above(k, x, y)
        return self.linear(x), after

    def _above(self, layer: int, read: Tensor, y: Tensor) -> Tensor:
        """What the next layer reads, or the linear map."""
        if not self._dense or layer == len(self.layers) - 1:
            return y
        return torch.cat([read, y], dim=-1)

    def loss(
        self, ids: Tensor, following: Tensor, state: State | None, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """The mean cross-entropy in nats of the characters ``following``, both [time, batch]."""
        scores, state = self(ids, state, generator)  # [time, batch, symbols]
        return functional.cross_entropy(scores.flatten(0, 1), following.flatten()), state

    def step(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One character per row, without dropout: ``ids`` [batch] -> scores [batch, symbols]."""
        x = self.features(ids)
        after: State = []
        for k, layer in enumerate(self.layers):
            y, layer_state = cast(Recurrent, layer).step(x, state[k] if state else None)
            after.append(layer_state)
            x = self._above(k, x, y)
        return self.linear(x), after

    def features(self, ids: Tensor) -> Tensor:
        """The input of the first layer for ``ids`` [time, batch]: [time, batch, features]."""
        if self.architecture.input == "embedding":
            return cast(Tensor, self.embedding(ids))
        return functional.one_hot(ids, self.linear.out_features).to(self.linear.weight.dtype)

    def _drop(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if not (self.training and self.dropout):
            return x
        # functional.dropout takes no generator, and the global one is the caller's.
        keep = torch.empty_like(x[:1]).bernoulli_(1 - self.dropout, generator=generator)
        return x * keep.div_(1 - self.dropout)

    def named_weights(self) -> dict[str, nn.Parameter]:
        """All parameters under the names of one stack, as ``nn.GRU(num_layers=...)`` has them.

        ``embedding.weight``, ``recurrent.weight_ih_l0``, ``recurrent.weight_ih_l1``, ...
        """
        return {_one_stack(name): parameter for name, parameter in self.named_parameters()}


def _one_stack(name: str) -> str:
    """``layers.1.weight_ih_l0`` is ``recurrent.weight_ih_l1`` of one stack."""
    owner, *rest = name.split(".")
    return f"recurrent.{rest[1].removesuffix('_l0')}_l{rest[0]}" if owner == "layers" else name


def detached(state: State) -> State:
    """The same state, cut from the graph that made it; nothing is copied."""
    return [s.detach() if isinstance(s, Tensor) else tuple(t.detach() for t in s) for s in state]


@torch.no_grad()
def hold_model(model: LanguageModel, values: Mapping[str, float]) -> LanguageModel:
    """The model with each named value held in every recurrent layer, all other weights copied.

    ``{"z": 1.0}`` for a GRU that never takes anything in. ``model`` is not modified; without values
    it comes back as it is. Raises CellError as `grus.hold` does.
    """
    if not values:
        return model
    architecture = replace(model.architecture, cell=held_at(model.architecture.cell, values))
    layers = [hold_layer(layer, values) for layer in model.layers]  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):  # the weights drawn are replaced at once
        whole = LanguageModel(architecture, model.dropout)
    whole.layers = torch.nn.ModuleList(layers)
    other = {k: v for k, v in model.state_dict().items() if not k.startswith("layers.")}
    whole.load_state_dict(other, strict=False)
    return whole.train(model.training)
