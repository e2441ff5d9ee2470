"""A whole ONNX graph: recurrent nodes by this project, the rest by the onnx package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.dialects.files import onnx_model
from grus.dialects.onnx.file import graphs
from grus.dialects.onnx.node import OUTPUTS, Node
from grus.dialects.onnx.tensors import INPUTS
from grus.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Array = np.ndarray[Any, np.dtype[Any]]

TYPES = {
    "activations": "STRINGS",
    "activation_alpha": "FLOATS",
    "activation_beta": "FLOATS",
    "clip": "FLOAT",
    "direction": "STRING",
}
"""The attributes of recurrent operators that are no INT."""


class Evaluator:
    """A graph that can be run; recurrent operators are this project's.

    Raises InputError where an operator is unknown to the onnx package's evaluator.
    """

    def __init__(self, model: ModelProto, where: str) -> None:
        from onnx.inliner import inline_local_functions
        from onnx.reference import ReferenceEvaluator

        self.where = where
        self.types = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
        flat = inline_local_functions(model) if model.functions else copy(model)
        _name_all_outputs(flat)
        with self._errors():
            self._inner = ReferenceEvaluator(flat, new_ops=[_operator(kind) for kind in INPUTS])

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of the graph by name; ``given`` holds its inputs.

        Raises InputError for an array of another dtype than the graph's, and where an operator
        cannot run on what it is given.
        """
        arrays = {name: np.asarray(value) for name, value in given.items()}
        dtype_of = onnx_model.library().helper.tensor_dtype_to_np_dtype
        for name, array in arrays.items():
            if self.types[name] and array.dtype != dtype_of(self.types[name]):
                wanted = dtype_of(self.types[name])
                raise InputError(f"{self.where}: {name} must be {wanted}, got {array.dtype}")
        with self._errors():
            found = self._inner.run(None, arrays)
        return dict(zip(self._inner.output_names, found, strict=True))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except (NotImplementedError, RuntimeError, LookupError, TypeError, ValueError) as error:
            told = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self.where}: an operator beside the recurrent ones cannot be run: {told}"
            ) from None


def copy(model: ModelProto) -> ModelProto:
    """A model of its own, to be changed."""
    made = type(model)()
    made.CopyFrom(model)
    return made


def _name_all_outputs(model: ModelProto) -> None:
    """Give outputs that nobody reads a name: the evaluator would take one called "" for every
    optional input that is left out."""
    for graph in graphs(model.graph):
        for k, node in enumerate(graph.node):
            for at, name in enumerate(node.output):
                if not name:
                    node.output[at] = f"{graph.name}/unread/{k}/{at}"


def _operator(kind: str) -> type:
    """The recurrent operator as the evaluator wants it: a class of that name."""
    from onnx.reference.op_run import OpRun

    def run(self: Any, *arrays: Array | None, **_: Any) -> tuple[Array, ...]:
        node = read_node(self.onnx_node, self.onnx_node.name)
        named = zip(INPUTS[kind], arrays, strict=False)
        outputs = node.run({name: array for name, array in named if array is not None})
        return tuple(outputs[name] for name in OUTPUTS[kind][: len(self.onnx_node.output)])

    return type(kind, (OpRun,), {"op_domain": "", "_run": run})


def read_node(proto: NodeProto, name: str) -> Node:
    """The recurrent node of a NodeProto.

    Raises InputError for an attribute of the wrong type, and as `Node.read` does.
    """
    onnx = onnx_model.library()
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
