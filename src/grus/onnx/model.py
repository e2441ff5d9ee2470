"""`grus.onnx.load`: a model's recurrent nodes on this project's kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.equations import Cell
from grus.errors import InputError
from grus.onnx.constants import Constants
from grus.onnx.evaluator import Evaluator, read_node, recurrent
from grus.onnx.forms import cell_of
from grus.onnx.model_proto import graphs, read_model, to_array
from grus.onnx.node import OUTPUTS, Node, check_weights, families, runs_on_kernels
from grus.onnx.others import runtime
from grus.onnx.stored import INPUTS
from grus.weight_file import Budget

if TYPE_CHECKING:
    from onnx import ModelProto

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Recurrent:
    """A recurrent node where it stands in a model: which tensors it reads and writes."""

    node: Node
    inputs: Mapping[str, str]
    """The operator's own name of an input -> the model's; what is left out is not there."""
    outputs: Mapping[str, str]
    constants: Mapping[str, Array]
    """Inputs that the file holds, by the operator's names: W, R, B as a rule."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cell of each direction, as equations."""
        return tuple(cell_of(replace(f, peepholes="P" in self.inputs)) for f in self.node.forms)

    @property
    def on_kernels(self) -> bool:
        """Whether compiled kernels run it; else the slow reference does."""
        return all(map(runs_on_kernels, self.cells))

    def weights(self, direction: int = 0) -> dict[str, Array]:
        """The weights of a direction by family, as its cell in `cells` has them. Raises InputError
        where the file does not hold them."""
        held = {name: array for name, array in self.constants.items() if name in "WRBP"}
        if computed := [n for n in "WRBP" if n in self.inputs and n not in held]:
            raise InputError(f"{computed[0]} is computed when the model runs")
        arrays = check_weights(self.node, held)
        return families(
            self.node.kind, self.cells[direction], {n: a[direction] for n, a in arrays.items()}
        )

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Run this node alone; names are the operator's own (X, sequence_lens, initial_h, ...) or
        the model's. W, R and whatever else the file holds need not be given.

        Gives the outputs that the node has, by the operator's names (Y, Y_h, Y_c); see `Node.run`
        for shapes. Raises InputError for a name that it has not, or an input that cannot be.
        """
        own = {theirs: name for name, theirs in self.inputs.items()}
        named = {own.get(name, name): value for name, value in given.items()}
        found = self.node.run({**self.constants, **named})
        return {name: found[name] for name in self.outputs}


class Model:
    """An ONNX model, loaded by `load`.

    ``nodes`` maps names to its GRU, LSTM and RNN nodes; a node without a name is called by its
    kind and number ("GRU_0"). ``inputs`` and ``outputs`` are the graph's own names, ``optional``
    those inputs that have a default in the file. ``others`` are the operators beside the recurrent
    ones: they are run by ONNX Runtime where it is installed, else by the onnx package's NumPy
    evaluator.
    """

    def __init__(self, proto: ModelProto, where: str, budget: Budget) -> None:
        self.proto, self.where = proto, where
        graph = proto.graph
        held = {t.name for t in graph.initializer}
        self.inputs = tuple(i.name for i in graph.input if i.name not in held)
        self.optional = tuple(i.name for i in graph.input if i.name in held)
        self.outputs = tuple(o.name for o in graph.output)
        every = [node for each in graphs(graph) for node in each.node]
        self.others = tuple(sorted({n.op_type for n in every if not recurrent(n)}))
        self._constants = Constants(graph, proto, budget, to_array)
        self.nodes = _nodes(self._constants)
        if not self.nodes:
            raise InputError(f"{where}: no GRU, LSTM or RNN node; it has {', '.join(self.others)}")

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Run on arrays by name; gives the outputs by name.

        With the graph's own input names the whole graph is run: its GRU, LSTM and RNN nodes by
        this project, every other operator as ``others`` says. A model with one recurrent node also
        takes that operator's own names ("X", "sequence_lens", "initial_h") and then runs the node
        alone, as ``model.nodes[name].run`` does.

        Raises InputError for a missing or unknown name, for an array that cannot be, and naming an
        operator that cannot be run.
        """
        missing = [name for name in self.inputs if name not in given]
        unknown = [name for name in given if name not in (*self.inputs, *self.optional)]
        if not missing and not unknown:
            return self._graph.run(given)
        if len(self.nodes) == 1:
            (only,) = self.nodes.values()
            if set(given) <= {*INPUTS[only.node.kind], *only.inputs.values()}:
                return only.run(given)
        what = f"not {', '.join(unknown)}" if unknown else f"{', '.join(missing)} is missing"
        optional = f"; optional: {', '.join(self.optional)}" if self.optional else ""
        raise InputError(
            f"{self.where}: its inputs are {', '.join(self.inputs)}{optional}; {what}."
            f" Recurrent nodes, to be run alone: {', '.join(self.nodes)}"
        )

    def array(self, name: str) -> Array | None:
        """The numbers that the file holds for a tensor of the graph, or that follow of them alone;
        None where they depend on what the model is fed. Raises InputError."""
        return self._constants.array(name)

    def __str__(self) -> str:
        lines = [f"{self.where}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}"]
        for name, node in self.nodes.items():
            by = "kernels" if node.on_kernels else "reference"
            lines.append(f"  {node.node.kind} {name}, {node.node.direction}, on the {by}")
        others = ", ".join(self.others) or "none"
        by = "the onnx package" if runtime() is None else "ONNX Runtime"
        return "\n".join([*lines, f"  other operators, by {by}: {others}"])

    @cached_property
    def _graph(self) -> Evaluator:
        return Evaluator(self.proto, self.where)


def load(path: str | Path) -> Model:
    """Load an ONNX model that contains GRU, LSTM or RNN nodes, of any opset.

    Every attribute is understood (activations with alpha and beta for each direction, clip,
    direction, layout, linear_before_reset, input_forget) and every optional input and output.
    Nodes run on the compiled kernels where these can run the cell, else on the slow reference.

    Raises InputError for a file that is no valid ONNX model, for external data outside the
    model's folder, and for a model without a recurrent node. Needs the onnx package.
    """
    model = read_model(path)
    return Model(model, str(path), Budget.of(Path(path)))


def _nodes(outermost: Constants) -> dict[str, Recurrent]:
    found: dict[str, Recurrent] = {}
    for constants in outermost.inside():
        for proto in filter(recurrent, constants.graph.node):
            name = proto.name or f"{proto.op_type}_{len(found)}"
            if name in found:
                name = f"{name}_{len(found)}"
            inputs = _named(INPUTS[proto.op_type], proto.input)
            outputs = _named(OUTPUTS[proto.op_type], proto.output)
            held = {own: a for own, n in inputs.items() if (a := constants.array(n)) is not None}
            found[name] = Recurrent(read_node(proto, name), inputs, outputs, held)
    return found


def _named(own: tuple[str, ...], theirs: Any) -> dict[str, str]:
    return {name: their for name, their in zip(own, theirs, strict=False) if their}
