"""A whole ONNX graph: recurrent nodes by this project, the rest by `others`."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from grus.errors import InputError
from grus.onnx import model_proto
from grus.onnx.control import KINDS as CONTROL, control
from grus.onnx.model_proto import to_array
from grus.onnx.node import OUTPUTS, Node
from grus.onnx.others import Piece, reads, runtime
from grus.onnx.stored import INPUTS
from grus.weight_file import one_line

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

Array = np.ndarray[Any, np.dtype[Any]]
Values = MutableMapping[str, Any]

TYPES = {
    "activations": "STRINGS",
    "activation_alpha": "FLOATS",
    "activation_beta": "FLOATS",
    "clip": "FLOAT",
    "direction": "STRING",
}
"""The attributes of recurrent operators that are no INT."""


class GraphStep(Protocol):
    """What stands in a graph: a recurrent node, a branch or loop, or a piece of other nodes."""

    def run(self, values: Any) -> dict[str, Any]:
        """The step's outputs by name, of what was computed before."""
        ...


class Evaluator:
    """A graph that can be run; recurrent operators are this project's.

    ``model`` has no functions, as `model_proto.load` gives it.
    """

    def __init__(self, model: ModelProto, where: str) -> None:
        self.where = where
        self.types = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
        try:
            self._body = Body(model.graph, model, ChainMap())
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of the graph by name; ``given`` holds its inputs.

        Raises InputError for an array of another dtype than the graph's, and naming the operator
        that cannot run on what it is given.
        """
        dtype_of = model_proto.library().helper.tensor_dtype_to_np_dtype
        values: dict[str, Any] = {}
        for name, value in given.items():
            if not self.types[name]:  # a sequence
                values[name] = value
                continue
            array, wanted = np.asarray(value), dtype_of(self.types[name])
            if array.dtype != wanted:
                raise InputError(f"{self.where}: {name} must be {wanted}, got {array.dtype}")
            values[name] = array
        try:
            found = self._body.run(values)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None
        return dict(zip(self._body.outputs, found, strict=True))


class Body:
    """A graph, or the graph inside a node: its steps in their order.

    ``outer`` are the tensors that the graphs around it hold.
    """

    def __init__(
        self, graph: GraphProto, model: ModelProto, outer: ChainMap[str, TensorProto]
    ) -> None:
        if graph.sparse_initializer:
            name = one_line(graph.sparse_initializer[0].values.name)[:80]
            raise InputError(f"the tensor {name!r} is stored sparse, which is not read")
        self.graph = graph
        self.inputs = [one.name for one in graph.input]
        self.outputs = [one.name for one in graph.output]
        self.held = outer.new_child(model_proto.stored(graph))
        defaults = [name for name in self.inputs if name in self.held.maps[0]]
        # What may be given in its place is no constant.
        self.defaults = {name: to_array(self.held.maps[0].pop(name)) for name in defaults}
        self._arrays: dict[str, Array] = {}
        groups = _groups([n for n in graph.node if not (n.output and n.output[0] in self.held)])
        every = [{name for node in group for name in reads(node)} for group in groups]
        self.steps: list[GraphStep] = []
        for k, group in enumerate(groups):
            read = set(self.outputs).union(*every[:k], *every[k + 1 :])
            if any(name in read for node in group for name in node.output):
                self.steps.append(self._step(group, read, model))

    def _step(self, group: list[NodeProto], read: set[str], model: ModelProto) -> GraphStep:
        node = group[0]
        if recurrent(node):
            return _Recurrent(node)
        if _controls(node):
            opset = next((o.version for o in model.opset_import if not o.domain), 1)
            return control(node, opset, lambda graph: Body(graph, model, self.held))
        outputs = [name for one in group for name in one.output if name in read]
        return Piece(group, outputs, self.held, model)

    def run(self, values: Mapping[str, Any]) -> list[Any]:
        """The graph's outputs in their order; ``values`` holds its inputs and what is around it."""
        known: Values = _Known(self, {**self.defaults, **values})
        for step in self.steps:
            known.update(step.run(known))
        return [known[name] for name in self.outputs]

    def array(self, name: str) -> Array:
        """A tensor that the file holds, as an array. Raises KeyError where there is none."""
        if name not in self._arrays:
            self._arrays[name] = to_array(self.held[name])
        return self._arrays[name]


class _Known(dict[str, Any]):
    """What is computed, and below it what the file holds."""

    def __init__(self, body: Body, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.body = body

    def __missing__(self, name: str) -> Array:
        try:
            return self.body.array(name)
        except KeyError:
            raise InputError(f"nothing computes {one_line(name)[:80]!r}, which is read") from None


class _Recurrent:
    """A recurrent node in its graph."""

    def __init__(self, proto: NodeProto) -> None:
        self.node = read_node(proto, proto.name)
        pairs = zip(INPUTS[proto.op_type], proto.input, strict=False)
        self.inputs = {name: theirs for name, theirs in pairs if theirs}
        outputs = zip(OUTPUTS[proto.op_type], proto.output, strict=False)
        self.outputs = {theirs: name for name, theirs in outputs if theirs}

    def run(self, values: Values) -> dict[str, Array]:
        found = self.node.run({name: values[theirs] for name, theirs in self.inputs.items()})
        return {theirs: found[name] for theirs, name in self.outputs.items()}


def recurrent(node: NodeProto) -> bool:
    """Whether a node is one of this project's."""
    return node.op_type in INPUTS and not node.domain


def _controls(node: NodeProto) -> bool:
    """Whether a branch or loop is run here: one with recurrent nodes inside; without ONNX Runtime
    every one."""
    inside = [n for outer in model_proto.subgraphs(node) for n in _nodes(outer)]
    ours = any(map(recurrent, inside)) or runtime() is None
    return node.op_type in CONTROL and not node.domain and ours


def _nodes(graph: GraphProto) -> list[NodeProto]:
    return [node for each in model_proto.graphs(graph) for node in each.node]


def _groups(nodes: list[NodeProto]) -> list[list[NodeProto]]:
    """The steps: recurrent nodes, branches and loops alone, all others as many as follow on one
    another."""
    found: list[list[NodeProto]] = []
    alone = True
    for node in nodes:
        single = recurrent(node) or _controls(node)
        if single or alone:
            found.append([])
        found[-1].append(node)
        alone = single
    return found


def read_node(proto: NodeProto, name: str) -> Node:
    """The recurrent node of a NodeProto.

    Raises InputError for an attribute of the wrong type, and as `Node.read` does.
    """
    onnx = model_proto.library()
    found = {}
    for attribute in proto.attribute:
        wanted = TYPES.get(attribute.name, "INT")
        if attribute.type != onnx.AttributeProto.AttributeType.Value(wanted):
            raise InputError(
                f"{proto.op_type} node {name!r}: attribute {attribute.name[:50]} must be of type"
                f" {wanted}"
            )
        found[attribute.name] = _text(onnx.helper.get_attribute_value(attribute))
    return Node.read(proto.op_type, name, found)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return [_text(v) for v in value] if isinstance(value, list) else value
