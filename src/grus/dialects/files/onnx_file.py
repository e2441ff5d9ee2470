"""The GRU, LSTM and RNN nodes of an ONNX file as tensors and settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grus.dialects.files import onnx_model
from grus.dialects.files.budget import Budget, one_line
from grus.dialects.files.contents import Array, Contents
from grus.errors import InputError

KINDS = ("GRU", "LSTM", "RNN")
WEIGHTS = {1: "W", 2: "R", 3: "B", 7: "P"}
"""Place among a node's inputs -> the name that ONNX gives it."""
STARTS = {5: "initial_h", 6: "initial_c"}


def read(path: Path) -> Contents:
    """The stored tensors of an ONNX model.

    Those of a recurrent node are called NODE/W, NODE/R, NODE/B and NODE/P, and ``described``
    holds its attributes under NODE, with its ``class_name``. Raises InputError.
    """
    model = onnx_model.load(path)
    budget = Budget.of(path)
    every = list(_tensors(model.graph))
    stored = {tensor.name: tensor for tensor in every}
    if len(stored) < len(every):
        raise InputError("two tensors of one name")
    tensors: dict[str, Array] = {}
    described: dict[str, dict[str, Any]] = {}
    unread: dict[str, str] = {}
    aside = [f"{one_line(n.name)[:80]} (sparse)" for n in _sparse(model.graph)]
    used: set[str] = set()
    for node_path, node in _nodes(model.graph):
        described[node_path] = _attributes(node) | {"class_name": node.op_type}
        for place, letter in WEIGHTS.items():
            source = node.input[place] if place < len(node.input) else ""
            if source in stored:
                used.add(source)
                tensors[f"{node_path}/{letter}"] = onnx_model.array(
                    stored[source], path.parent, budget
                )
            elif source:
                unread[f"{node_path}/{letter}"] = "it is computed when the model runs"
        aside += [
            f"{node_path}/{start} ({one_line(node.input[place])[:80]})"
            for place, start in STARTS.items()
            if place < len(node.input) and node.input[place]
        ]
    for name, tensor in stored.items():
        if name in used:
            continue
        shown = one_line(name)
        if shown in tensors:
            raise InputError(f"two tensors are called {shown[:80]!r}")
        if tensor.data_type in onnx_model.TYPES:
            tensors[shown] = onnx_model.array(tensor, path.parent, budget)
        else:
            aside.append(f"{shown[:80]} (no numbers)")
    return Contents("onnx", tensors, _metadata(model), described, tuple(aside), unread)


def _nodes(graph: Any) -> Iterator[tuple[str, Any]]:
    """The recurrent nodes of the graph, each with a path of its own."""
    met: set[str] = set()
    for number, node in enumerate(graph.node):
        if node.op_type not in KINDS or node.domain not in ("", "ai.onnx"):
            continue
        name = one_line(node.name) or f"{node.op_type}_{number}"
        if name in met:
            name = f"{name}_{number}"
        met.add(name)
        yield name.strip("/"), node


def _tensors(graph: Any) -> Iterator[Any]:
    """The initializers, and the constants that stand in the graph as nodes."""
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.name = node.output[0]
                    yield attribute.t


def _sparse(graph: Any) -> Iterator[Any]:
    return (sparse.values for sparse in graph.sparse_initializer)


def _attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values, of the four kinds that recurrent nodes have."""
    onnx = onnx_model.library()
    kinds = onnx.AttributeProto
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        name = one_line(attribute.name)
        if attribute.type == kinds.INT:
            found[name] = attribute.i
        elif attribute.type == kinds.FLOAT:
            found[name] = attribute.f
        elif attribute.type == kinds.STRING:
            found[name] = one_line(attribute.s.decode("utf-8", "replace"))
        elif attribute.type == kinds.FLOATS:
            found[name] = tuple(attribute.floats)
        elif attribute.type == kinds.STRINGS:
            found[name] = tuple(one_line(s.decode("utf-8", "replace")) for s in attribute.strings)
    return found


def _metadata(model: Any) -> dict[str, str]:
    found = {one_line(entry.key): entry.value for entry in model.metadata_props}
    producer = f"{model.producer_name} {model.producer_version}".strip()
    return found | ({"producer": one_line(producer)} if producer else {})
