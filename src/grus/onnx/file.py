"""An ONNX file that somebody else wrote as a whole graph, with the tensors it keeps beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grus.errors import InputError
from grus.onnx import external, model_proto
from grus.weight_file import Budget, one_line

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

Array = Any


def read_model(path: str | Path) -> ModelProto:
    """The model in an ONNX file, its external tensors loaded from the model's own folder.

    Raises InputError for what is no ONNX model, or whose data lie elsewhere or do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        model: ModelProto = model_proto.load(path)
        budget = Budget.of(path)
        for graph in model_proto.graphs(model.graph):
            for tensor in tensors(graph):
                _complete(tensor, path.parent, budget)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return model


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor stored in one graph: initializers, and the values of attributes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def to_array(tensor: TensorProto) -> Array:
    """The numbers of a tensor. Raises InputError where they are not of its shape and type."""
    try:
        return model_proto.library().numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        name = one_line(tensor.name)[:80]
        raise InputError(f"the tensor {name!r} cannot be read: {one_line(error)}") from None


def _complete(tensor: TensorProto, folder: Path, budget: Budget) -> None:
    """Check a tensor's size; read into it what it keeps in another file."""
    name = one_line(tensor.name)[:80] or "a tensor"
    onnx = model_proto.library()
    try:
        size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{name} has the ONNX type {tensor.data_type}, which is none") from None
    budget.take_array(name, tuple(tensor.dims), size)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        where = {entry.key: entry.value for entry in tensor.external_data}
        tensor.raw_data = external.read(folder, where, math.prod(tensor.dims) * size, name)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
