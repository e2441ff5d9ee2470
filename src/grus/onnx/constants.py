"""What an ONNX graph computes from its stored tensors alone, such as weights that are put together
or dequantised before a recurrent node reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError
from grus.onnx import model_proto
from grus.onnx.others import Piece
from grus.weight_file import MAX_AXES, Budget

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

Array = np.ndarray[Any, np.dtype[Any]]
REARRANGING = (
    "Cast", "Concat", "Constant", "Flatten", "Identity", "Neg", "Reshape", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that give no more numbers than they are given."""
BROADCASTING = ("Add", "DequantizeLinear", "Div", "Mul", "QuantizeLinear", "Sub")
SIZED = ("Gather", "ConstantOfShape")
DEEPEST = 100
ITEM = 8


@dataclass
class Constants:
    """The tensors that one graph stores, those of the graphs around it, and what follows of them.

    ``read`` gives a stored tensor's numbers; ``used`` collects the names of those that were read.
    """

    graph: GraphProto
    model: ModelProto
    budget: Budget
    read: Callable[[TensorProto], Array]
    outer: Constants | None = None
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stored = model_proto.stored(self.graph)
        self._makers = {name: node for node in self.graph.node for name in node.output if name}
        self._known: dict[str, Array | None] = {}

    def inside(self) -> Iterator[Constants]:
        """These, and those of every graph inside the graph's nodes."""
        yield self
        for node in self.graph.node:
            for graph in model_proto.subgraphs(node):
                yield from Constants(graph, self.model, self.budget, self.read, self).inside()

    def array(self, name: str, depth: int = 0) -> Array | None:
        """The numbers called ``name``; None where they depend on what the model is fed.

        Raises InputError for a tensor that is not what it says, and where computing it would take
        more than such a file may ask for.
        """
        if name not in self._known and depth < DEEPEST:
            self._known[name] = None  # a graph that reads itself ends here
            self._known[name] = self._array(name, depth)
        return self._known.get(name)

    def _array(self, name: str, depth: int) -> Array | None:
        tensor, node = self.stored.get(name), self._makers.get(name)
        if tensor is not None:
            self.used.add(name)
            return self.read(tensor) if tensor.data_type in model_proto.TYPES else None
        if node is None:
            return self.outer.array(name, depth) if self.outer else None
        if node.domain or node.op_type not in (*REARRANGING, *BROADCASTING, *SIZED):
            return None
        values = {one: self.array(one, depth + 1) for one in node.input if one}
        given = {one: value for one, value in values.items() if value is not None}
        if len(given) < len(values):
            return None
        self.budget.take(ITEM * _size(node, list(given.values())), name)
        outputs = [one for one in node.output if one]
        found = Piece([node], outputs, {}, self.model).run(given)
        self._known |= found
        return np.asarray(found[name])


def _size(node: NodeProto, given: list[Array]) -> int:
    """The most numbers that a node can give of these."""
    if node.op_type == "ConstantOfShape":
        if given[0].size > MAX_AXES or given[0].dtype.kind != "i":
            raise InputError("the operator ConstantOfShape is given what is no shape")
        return math.prod(abs(int(size)) for size in given[0].ravel())
    if node.op_type == "Gather":
        return math.prod(array.size for array in given)
    if node.op_type not in BROADCASTING:
        return sum(array.size for array in given)
    if node.op_type.endswith("Linear"):  # scales and zero points are spread over the first input
        return given[0].size
    try:
        return math.prod(np.broadcast_shapes(*(array.shape for array in given)))
    except ValueError:
        raise InputError(f"the operator {node.op_type} is given shapes that do not fit") from None
