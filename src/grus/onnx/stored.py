"""The GRU, LSTM and RNN nodes of an ONNX file as tensors and settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError
from grus.onnx import model_proto
from grus.weight_file import Array, Budget, Contents, one_line

if TYPE_CHECKING:
    from grus.onnx.constants import Constants

KINDS = ("GRU", "LSTM", "RNN")
WEIGHTS = ("W", "R", "B", "P")
STATES = ("sequence_lens", "initial_h", "initial_c")
SHARED = ("X", *WEIGHTS[:3], *STATES[:2])
INPUTS: dict[str, tuple[str, ...]] = {
    "GRU": SHARED,
    "LSTM": (*SHARED, "initial_c", "P"),
    "RNN": SHARED,
}
"""The inputs of a node in ONNX' order."""
RUNS = "which grus.onnx.load runs"
FLOATS = (1, 10, 11, 16)
"""ONNX's numbers of the floating types."""


def read(path: Path) -> Contents:
    """The stored tensors of an ONNX model.

    Those of a recurrent node, in the graph or in one inside it, are called NODE/W, NODE/R, NODE/B
    and NODE/P, also where they are put together of stored tensors; ``described`` holds its
    attributes under NODE, with its ``class_name``, its own bytes as ``node``, and ``notes``; what
    it computes that no weights carry is ``unread``. Raises InputError.
    """
    from grus.onnx.constants import Constants

    model = model_proto.load(path)
    budget = Budget.of(path)
    names = [tensor.name for tensor in model.graph.initializer]
    if len(set(names)) < len(names):
        raise InputError("two tensors of one name")

    def array(tensor: Any) -> Array:
        return model_proto.array(tensor, path.parent, budget)

    every = list(Constants(model.graph, model, budget, array).inside())
    found = StoredNodes()
    aside = [f"{one_line(n.values.name)[:80]} (sparse)" for n in model.graph.sparse_initializer]
    met: set[str] = set()
    for constants in every:
        for number, node in enumerate(constants.graph.node):
            if node.op_type in KINDS and not node.domain:
                name = one_line(node.name) or f"{node.op_type}_{number}"
                name = f"{name}_{number}" if name in met else name
                met.add(name)
                found.node(name.strip("/"), node, constants)
    for constants in every:
        top = constants is every[0]
        for name, tensor in constants.stored.items():
            shown = one_line(name)
            if name in constants.used or not (top or tensor.data_type in FLOATS):
                continue
            if top and shown in found.tensors:
                raise InputError(f"two tensors are called {shown[:80]!r}")
            if tensor.data_type in model_proto.TYPES:
                found.tensors.setdefault(shown, array(tensor))
            else:
                found.aside.append(f"{shown[:80]} (no numbers)")
    notes = (*aside, *found.aside)
    return Contents("onnx", found.tensors, _metadata(model), found.described, notes, found.unread)


@dataclass
class StoredNodes:
    """What a file's recurrent nodes hold and say."""

    tensors: dict[str, Array] = field(default_factory=dict)
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)

    def node(self, path: str, node: Any, constants: Constants) -> None:
        """Take in one node."""
        notes = []
        inputs = {name: n for name, n in zip(INPUTS[node.op_type], node.input, strict=False) if n}
        arrays = {name: constants.array(inputs[name]) for name in inputs if name != "X"}
        for name, value in arrays.items():
            if value is None and name in WEIGHTS:
                self.unread[f"{path}/{name}"] = f"it is computed when the model runs, {RUNS}"
            elif value is None:
                self.aside.append(f"{path}/{name} ({one_line(inputs[name])[:80]})")
            elif name == "P" and not np.any(value):
                self.aside.append(f"{path}/P (all zero)")
            elif name in WEIGHTS:
                self.tensors[f"{path}/{name}"] = value
                if name == "P":
                    self.unread[f"{path}/P"] = f"peepholes, which no weights here carry, {RUNS}"
            elif name == "sequence_lens" and value.size and (value == value.flat[0]).all():
                steps = int(value.flat[0])
                notes.append(f"{path} stops after {steps} steps of every row (sequence_lens)")
            elif np.any(value):
                self.unread[f"{path}/{name}"] = f"no weights here carry it, {RUNS}"
        told = {"class_name": node.op_type, "node": node.SerializeToString()}
        told |= {"notes": tuple(notes)} if notes else {}
        self.described[path] = attributes(node) | told


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values, of the four kinds that recurrent nodes have."""
    onnx = model_proto.library()
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
