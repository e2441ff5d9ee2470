"""A trained model with gates held: what does the network forget without them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from grus.equations import held_at
from grus.layers.held import hold_layer
from grus.models.language import LanguageModel


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
        made = LanguageModel(architecture, model.dropout)
    made.layers = torch.nn.ModuleList(layers)
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("layers.")}
    made.load_state_dict(own, strict=False)
    return made.train(model.training)
