"""A layer with values held, its weights kept: what does the network do without this gate?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from grus.equations import Cell, held_at, hold_weights
from grus.layers.arguments import OPTIONS
from grus.layers.connected import GATE
from grus.layers.recurrent import Recurrent


@torch.no_grad()
def hold_layer(layer: Recurrent, values: Mapping[str, float]) -> Recurrent:
    """A layer of the held cell (`grus.hold`) with copies of the weights that are left.

    ``layer`` is any grus layer, never modified; layers, directions, bias, dtype and device are its
    own. It is what the layer does in ``eval()``: masks that training draws are not kept. Raises
    CellError as `grus.hold` does.
    """
    cell = layer.cell
    held = held_at(cell, values)
    with torch.random.fork_rng(devices=[]):  # the weights drawn are replaced at once
        copy = _like(layer, held)
    for row in range(len(layer._rows)):
        weights = cast("dict[str, Tensor]", hold_weights(cell, held, layer.layer_weights(row)))
        _set(copy, row, weights)
    for name, parameter in copy.named_parameters():
        if name.startswith(GATE):
            parameter.copy_(getattr(layer, name))
    return copy.train(layer.training)


def _like(layer: Recurrent, held: Cell) -> Recurrent:
    """A layer like ``layer`` of the held cell."""
    like = getattr(layer, layer._first)
    kept = (*OPTIONS, "backend", "recompute", "connect")
    options: Any = {name: getattr(layer, name) for name in kept}
    options["dropout"] = 0.0
    read = {node.name for node in held.further}
    options["further_sizes"] = {n: s for n, s in layer.further_sizes.items() if n in read}
    if layer.positions is not None:
        options |= layer.positions.options
    if "projection" not in held.shapes.states.values():
        options["proj_size"] = 0
    return Recurrent(held, **options, device=like.device, dtype=like.dtype)


def _set(layer: Recurrent, row: int, weights: Mapping[str, Tensor]) -> None:
    """Set the parameters of a row of h_n from weights by family; a gate's bias, where torch has two
    of it, is the first one, the second is zero."""
    record, tensors = layer.record, layer.layer_tensors(row)
    inner = record.cell.families.get("d", ())
    for family, stacked in weights.items():
        if family != "d" and record.tensor(family) in tensors:
            tensors[record.tensor(family)].copy_(stacked)
    if "bias_hh" not in tensors:
        return
    blocks = tensors["bias_hh"].view(len(record.gates_hh), -1)
    blocks.zero_()
    for k, gate in enumerate(record.gates_hh):
        if gate in inner:
            blocks[k] = weights["d"].view(len(inner), -1)[inner.index(gate)]
