"""A character model of `grus train` as a chain of layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from grus.builds.chain import Chain
from grus.builds.model import Model
from grus.builds.torch_layers import add_layer, add_recurrent
from grus.errors import InputError
from grus.models import LanguageModel, checkpoint, kept_run


def read_run(path: Path) -> Model:
    """The best model of a run's folder, or that of one of its files. Raises InputError as
    `models.checkpoint.load` does, and for layers that are joined by connect="dense"."""
    return character_model(checkpoint.load(kept_run.find(path)).model())


def character_model(model: LanguageModel) -> Model:
    """The embedding, the layers and the linear map; ``symbols`` are the vocabulary's."""
    architecture, chain = model.architecture, Chain()
    if architecture.connect == "dense":
        raise InputError("connect='dense' cannot be built: a layer reads more than the one before")
    if architecture.input == "embedding":
        chain = add_layer(chain, "embedding", model.embedding, logits=False)
    for k, layer in enumerate(model.layers):
        chain = add_recurrent(chain, f"layers.{k}", layer)
    chain = add_layer(chain, "linear", model.linear, logits=False)
    vocabulary = architecture.vocabulary
    if vocabulary.unit == "byte":
        chain = chain.noted("symbols are the bytes of UTF-8, each as the character of its number")
    return replace(chain.model(), symbols=tuple(vocabulary.symbols), unit=vocabulary.unit)
