"""What a recurrent node of an ONNX file means, and the node run beside what was read of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grus.dialects.activation import SOFTPLUS
from grus.dialects.conversion import example, rounding
from grus.dialects.dialect import RNN_RELU, Dialect, Meant, cell_of
from grus.dialects.network import Network
from grus.errors import InputError
from grus.onnx import model_proto
from grus.onnx.forms import ROLES
from grus.onnx.node import OUTPUTS, Node
from grus.onnx.others import runtime, session
from grus.onnx.stored import INPUTS, attributes
from grus.weight_file import Array

STATES = ("initial_h", "initial_c")
SPARE = 2.0**-18
"""What exp and tanh of another library may be off in float32, 32 units in the last place; eight
times the rounding of every weight once comes on top."""


def by_onnx(dialect: Dialect, said: Mapping[str, Any]) -> Meant | None:
    """``dialect`` with the attributes of an ONNX node; None where it is not that node's.

    Raises InputError for what the node says that no cell here has, or no weights carry.
    """
    kind, beside = said["class_name"], ("class_name", "node", "notes")
    node = Node.read(kind, "", {name: value for name, value in said.items() if name not in beside})
    form = node.forms[0]
    relu = form.activations[0].name == "relu"
    if dialect.cell_name != cell_of(kind, form.linear_before_reset, relu):
        return None
    if form.input_forget:
        raise InputError(f"an {kind} node with input_forget=1, which ties two gates")
    if any(other != form for other in node.forms):
        raise InputError("two directions with different activations")
    if any(one.name == SOFTPLUS for one in form.activations):
        raise InputError("the activation 'Softplus', which no dialect here has")
    chosen: dict[str, Any] = dict(zip(ROLES[kind], form.activations, strict=True))
    if dialect.cell_name == RNN_RELU:
        chosen = {}
    notes: tuple[str, ...] = said.get("notes", ())
    if node.layout:
        notes += ("layout=1 (batch first) is no part of the weights; set it again",)
    return Meant(dialect.activated(**chosen, clip=form.clip), node.direction == "reverse", notes)


def check(settings: Mapping[str, Any], network: Network, tensors: Mapping[str, Array]) -> None:
    """Raise InputError unless ``network`` computes what the node does.

    ``settings`` are what the file says of the node, its own bytes under "node"; ``tensors`` its
    W, R and B. ONNX Runtime runs the node where it is installed and can; else `grus.onnx` does,
    from the node's attributes.
    """
    x, start = example(network)
    given = {"X": x, **tensors, **dict(zip(STATES, start, strict=False))}
    given = {name: np.asarray(array, network.dtype) for name, array in given.items()}
    with np.errstate(all="ignore"):
        wanted = network.run(given["X"], tuple(given[s] for s in STATES[: len(start)]))
        outputs = run(settings, given)
        pairs = zip(outputs, (wanted.output, *wanted.state), strict=True)
        off = max(float(np.abs(a - b)[np.isfinite(a - b)].max(initial=0)) for a, b in pairs)
        bound = rounding(network) + SPARE
    if not off <= bound and np.isfinite(bound):
        raise InputError(
            f"its node computes something else than what was read, off by {off:.2g} on random input"
        )


def run(settings: Mapping[str, Any], given: Mapping[str, Array]) -> list[Array]:
    """All outputs [time, batch, directions * hidden] and the final states of the node."""
    node = model_proto.library().NodeProto.FromString(settings["node"])
    for attribute in list(node.attribute):
        if attribute.name == "layout":  # that of the arrays, which stand with time first here
            node.attribute.remove(attribute)
    found = _by_runtime(node, given)
    if found is None:
        found = _by_attributes(node, given)
    y = found[0].swapaxes(1, 2)
    return [y.reshape(*y.shape[:2], -1), *found[1:]]


def _by_runtime(node: Any, given: Mapping[str, Array]) -> list[Array] | None:
    """The node's outputs by ONNX Runtime; None where it is not installed or does not run it."""
    ort = runtime()
    if ort is None:
        return None
    onnx = model_proto.library()
    helper, outputs = onnx.helper, OUTPUTS[node.op_type]
    names = [n if n in given else "" for n in INPUTS[node.op_type]]
    del node.input[:], node.output[:]
    node.input.extend(names)
    node.output.extend(outputs)
    kind = helper.np_dtype_to_tensor_dtype(given["X"].dtype)
    infos = [helper.make_tensor_value_info(n, kind, given[n].shape) for n in names if n]
    graph = helper.make_graph([node], "node", infos, [onnx.ValueInfoProto(name=n) for n in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    content, feeds = model.SerializeToString(), {name: given[name] for name in names if name}
    try:
        return list(session(ort, content).run(None, feeds))
    except Exception:  # noqa: BLE001  its errors share no class; what it refuses is run here
        return None


def _by_attributes(node: Any, given: Mapping[str, Array]) -> list[Array]:
    found = Node.read(node.op_type, "", attributes(node)).run(given)
    return [found[name] for name in OUTPUTS[node.op_type]]
