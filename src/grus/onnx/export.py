"""`grus.onnx.save`: a recurrent network written as an ONNX model, and proven before it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.atomic_file import replace
from grus.dialects.network import Network
from grus.errors import InputError
from grus.onnx import model_proto
from grus.onnx.evaluator import Evaluator
from grus.onnx.forms import Written, written
from grus.onnx.network_graph import ModuleNetwork, NetworkGraph, module_network
from grus.onnx.node import PACKINGS

if TYPE_CHECKING:
    from onnx import ModelProto


Array = Any


def save(module: Any, path: str | Path, *, lengths: bool = False) -> None:
    """Write a recurrent module or a `Network` to ``path`` as an ONNX model (opset 17).

    ``module`` is nn.GRU, nn.LSTM, nn.RNN, `grus.Recurrent` and its kind, with any number of
    layers and one or two directions, or a `Network`. The model's inputs are ``x`` [time, batch,
    input] ([batch, time, input] for a module with batch_first) and the initial states ``h0``
    (and ``c0``) [layers * directions, batch, hidden], which may be left out: zeros then. Its
    outputs are ``output`` [time, batch, directions * hidden], with the axes of x, ``h_n`` (and
    ``c_n``) [layers * directions, batch, hidden]. Time and batch are free. With ``lengths`` there
    is one more input that may be left out, ``lengths`` [batch] of int32: outputs past a row's
    length are 0; at length 0 ONNX Runtime ends with zeros, not with the initial state.

    The file is written whole or not at all, after onnx.checker has passed it and the model has
    been run against the network on random x and initial states.

    Raises Unrepresentable for a cell for which ONNX has no operator (it says which equation), and
    InputError for what is no recurrent module.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"the model must be a file in a folder that exists, got {path}")
    model = to_model(module, lengths=lengths)
    replace(path, model.SerializeToString())


def to_model(module: Any, *, lengths: bool = False) -> ModelProto:
    """The model that `save` writes, checked and proven."""
    one = module_network(module)
    model = build(one, lengths=lengths)
    model_proto.library().checker.check_model(model, full_check=True)
    prove(one, model)
    return model


def build(one: ModuleNetwork, *, lengths: bool = False) -> ModelProto:
    """The graph: one recurrent node for each layer, and what joins them."""
    network = one.network
    form = written(network.cell)
    graph = NetworkGraph(one, lengths)
    below = graph.begin()
    for k in range(len(network.layers)):
        below = graph.layer(k, below, form, _tensors(network, form, k))
    return graph.end(below)


def _tensors(network: Network, form: Written, layer: int) -> dict[str, Array]:
    """W, R, B (and P) of one layer, directions stacked."""
    found = [_direction(network, form, layer, d) for d in range(network.directions)]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _direction(network: Network, form: Written, layer: int, direction: int) -> dict[str, Array]:
    # An LSTM with input_forget has no weights of f; ONNX keeps a place that it never reads.
    single = {
        weight: (-array if weight.gate in form.mirrored else array).astype(network.dtype)
        for weight, array in network.blocks(layer, direction).items()
    }
    inputs = network.layers[layer][direction]["W"].shape[1]
    packing = PACKINGS[form.form.kind, "d" in network.cell.families]
    return packing.join(single, (network.hidden_size, inputs))


STEPS, BATCH = 3, 3


def prove(one: ModuleNetwork, model: ModelProto) -> None:
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
