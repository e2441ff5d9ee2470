"""The recurrent layers of a weight file as layers of a chain."""

from __future__ import annotations

from grus.builds.chain import Chain
from grus.errors import InputError
from grus.files import Layer, only_reading


def add_stored(chain: Chain, path: str, layer: Layer, option: str) -> Chain:
    """The rows of a stored layer, one each. Raises InputError for one that runs backward or both
    ways, and naming ``option`` where several dialects read it."""
    network = only_reading(path, layer, option).network
    only_forward(path, network.reverse or network.directions > 1)
    for k, (weights,) in enumerate(network.layers):
        where = path if len(network.layers) == 1 else f"{path}.{k}"
        chain = chain.recurrent(where, network.cell, weights, int(weights["W"].shape[1]))
    return chain


def only_forward(path: str, backward: bool) -> None:
    """Raise InputError for a layer of which a direction runs backward."""
    if backward:
        raise InputError(
            f"{path} runs backward in time too: streaming: the backward direction needs the end of"
            " the sequence first"
        )
