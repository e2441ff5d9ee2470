"""A model is run against the network that it was made of, before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from grus.onnx.evaluator import Evaluator
from grus.onnx.modules import Given

if TYPE_CHECKING:
    from onnx import ModelProto

Array = np.ndarray[Any, np.dtype[Any]]
STEPS, BATCH = 3, 3


def prove(one: Given, model: ModelProto) -> None:
    """Raise ArithmeticError unless the model computes what the network does on random numbers."""
    network, rng = one.network, np.random.default_rng(0)
    rows = len(network.layers) * network.directions
    x = rng.normal(size=(STEPS, BATCH, network.input_size)).astype(network.dtype)
    shape = (rows, BATCH, network.hidden_size)
    start = {s: rng.normal(0, 0.5, shape).astype(network.dtype) for s in "hc"}
    states = tuple(start[s] for s in network.cell.states)
    want = network.run(x, states if len(states) > 1 else states[0])
    feeds = {"x": x.swapaxes(0, 1) if one.batch_first else x}
    feeds |= {f"{s}0": start[s] for s in network.cell.states}
    found = Evaluator(model, "the model").run(feeds)
    output = found["output"].swapaxes(0, 1) if one.batch_first else found["output"]
    pairs = [(output[::-1] if one.turned else output, want.output)]
    pairs += [(found[f"{s}_n"], v) for s, v in zip(network.cell.states, want.state, strict=True)]
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ArithmeticError(f"the model gives {ours.shape} where {theirs.shape} is wanted")
        off = float(np.abs(ours - theirs).max())
        if not off <= bound(network, float(np.abs(theirs).max())):
            raise ArithmeticError(f"the model made of {network.cell.name} is off by {off:.3g}")


def bound(network: Any, largest: float) -> float:
    """What rounding may do: in each layer every step sums I + H products of the largest weight and
    a few more, and hands on what came before, at worst enlarged by all of its weights."""
    unit = float(np.finfo(network.dtype).eps)
    total = 0.0
    for directions in network.layers:
        sums = [float(np.abs(w["U"]).sum(axis=1).max()) for w in directions]
        terms = max(w["W"].shape[1] + w["U"].shape[1] + 12 for w in directions)
        growth = (1 + max(sums)) ** STEPS
        total = growth * (total + terms * unit * (1 + max(sums)) * max(1.0, largest))
    return total
