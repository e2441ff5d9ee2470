"""Branches and loops that are run here, as the operators If, Loop and Scan define them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from grus.errors import InputError
from grus.onnx import model_proto
from grus.weight_file import one_line

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Array = np.ndarray[Any, np.dtype[Any]]
Values = Mapping[str, Any]
KINDS = ("If", "Loop", "Scan")


class GraphBody(Protocol):
    """A graph inside a node."""

    graph: GraphProto
    inputs: list[str]
    outputs: list[str]

    def run(self, values: Values) -> list[Any]:
        """The graph's outputs, of its inputs and what is around it."""
        ...


class Control(Protocol):
    """A branch or a loop."""

    def run(self, values: Values) -> dict[str, Any]:
        """Its outputs by name."""
        ...


def control(node: NodeProto, opset: int, body: Callable[[GraphProto], GraphBody]) -> Control:
    """The branch or loop that a node is; ``body`` makes what runs the graphs in it.

    Raises InputError for a Scan of opset 8, which has a batch of its own.
    """
    onnx = model_proto.library()
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    bodies = {
        name: body(graph)
        for name, graph in attributes.items()
        if isinstance(graph, onnx.GraphProto)
    }
    if node.op_type == "If":
        return _If(node, bodies["then_branch"], bodies["else_branch"])
    if node.op_type == "Loop":
        return _Loop(node, bodies["body"])
    if opset < 9:
        raise InputError("the operator Scan of opset 8, with a batch of its own, is not run")
    return _Scan(node, bodies["body"], attributes)


def _named(node: NodeProto, found: list[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(node.output, found, strict=False) if name}


def _given(values: Values, names: Any) -> list[Any]:
    return [values[name] if name else None for name in names]


class _If:
    def __init__(self, node: NodeProto, then: GraphBody, other: GraphBody) -> None:
        self.node, self.then, self.other = node, then, other

    def run(self, values: Values) -> dict[str, Any]:
        (up,) = _given(values, self.node.input)
        if np.size(up) != 1:
            raise InputError(f"the operator If needs one truth value, got shape {np.shape(up)}")
        return _named(self.node, (self.then if np.all(up) else self.other).run(values))


class _Loop:
    def __init__(self, node: NodeProto, body: GraphBody) -> None:
        self.node, self.body = node, body

    def run(self, values: Values) -> dict[str, Any]:
        names = [*self.node.input, *[""] * (2 - len(self.node.input))]
        trips, go, *states = _given(values, names)
        most = None if trips is None else int(np.ravel(trips)[0])
        going = go is None or bool(np.all(go))
        collected: list[list[Any]] = [[] for _ in self.body.outputs[1 + len(states) :]]
        count = 0
        while going and (most is None or count < most):
            start = [np.array(count, np.int64), np.array(True), *states]
            found = self.body.run({**values, **dict(zip(self.body.inputs, start, strict=True))})
            going = bool(np.all(found[0]))
            states = found[1 : 1 + len(states)]
            for one, value in zip(collected, found[1 + len(states) :], strict=True):
                one.append(value)
            count += 1
        ends = self.body.graph.output[1 + len(states) :]
        rows = [_stacked(one, end, 0) for one, end in zip(collected, ends, strict=True)]
        return _named(self.node, [*states, *rows])


class _Scan:
    def __init__(self, node: NodeProto, body: GraphBody, attributes: dict[str, Any]) -> None:
        self.node, self.body, self.attributes = node, body, attributes
        self.count = int(attributes["num_scan_inputs"])

    def _each(self, name: str, count: int) -> list[int]:
        return list(self.attributes.get(name) or [0] * count)

    def run(self, values: Values) -> dict[str, Any]:
        given = _given(values, self.node.input)
        states, rows = given[: -self.count], given[-self.count :]
        axes = self._each("scan_input_axes", self.count)
        back = self._each("scan_input_directions", self.count)
        moved = [np.moveaxis(row, axis, 0) for row, axis in zip(rows, axes, strict=True)]
        turned = [row[::-1] if b else row for row, b in zip(moved, back, strict=True)]
        if len({len(row) for row in turned}) != 1:
            raise InputError("the operator Scan needs inputs of one length")
        ends = self.body.graph.output[len(states) :]
        collected: list[list[Any]] = [[] for _ in ends]
        for k in range(len(turned[0])):
            start = [*states, *(np.ascontiguousarray(row[k]) for row in turned)]
            found = self.body.run({**values, **dict(zip(self.body.inputs, start, strict=True))})
            states = found[: len(states)]
            for one, value in zip(collected, found[len(states) :], strict=True):
                one.append(value)
        axes = self._each("scan_output_axes", len(ends))
        back = self._each("scan_output_directions", len(ends))
        made = [
            _stacked(one[::-1] if b else one, end, axis)
            for one, end, axis, b in zip(collected, ends, axes, back, strict=True)
        ]
        return _named(self.node, [*states, *made])


def _stacked(rows: list[Any], end: Any, axis: int) -> Array:
    """The values of all rounds along a new axis; of no round, an empty array of the shape that
    the graph declares, 0 where it says no size."""
    if rows:
        return np.stack(rows, axis=axis)
    tensor = end.type.tensor_type
    if not tensor.HasField("shape"):
        raise InputError(f"a loop of no round gives {one_line(end.name)[:80]!r} no shape")
    shape = [dim.dim_value for dim in tensor.shape.dim]
    at = axis if axis >= 0 else len(shape) + 1 + axis
    dtype = model_proto.library().helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return np.zeros((*shape[:at], 0, *shape[at:]), dtype)
