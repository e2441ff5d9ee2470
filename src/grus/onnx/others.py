"""The operators beside the recurrent ones: run by ONNX Runtime where it is installed, else by the
onnx package's NumPy evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.errors import InputError
from grus.onnx import model_proto
from grus.weight_file import one_line

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, TypeProto

Value = Any
"""An array, a list of arrays (a sequence), or None (an optional that is empty)."""
Run = Callable[[list[str], dict[str, Value]], list[Value]]
QUIET = 4
ERRORS = (NotImplementedError, RuntimeError, LookupError, TypeError, ValueError,
          AttributeError, ArithmeticError, ImportError)  # fmt: skip
"""What the onnx package's evaluator raises for what it cannot run."""
LIFTED = {"QuantizeLinear": 19, "DequantizeLinear": 19}
"""Operators that the onnx package runs from this opset on only; the earlier ones are part of it."""


@lru_cache(maxsize=1)
def runtime() -> Any:
    """The module onnxruntime; None where it is not installed."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return None
    return onnxruntime


def session(ort: Any, content: bytes) -> Any:
    """ONNX Runtime's session of a model's bytes, on the CPU; raises whatever ONNX Runtime does."""
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    return ort.InferenceSession(content, options, ["CPUExecutionProvider"])


def reads(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, also from inside its graphs."""
    yield from filter(None, node.input)
    for outer in model_proto.subgraphs(node):
        for graph in model_proto.graphs(outer):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from filter(None, inner.input)


class Piece:
    """Nodes of one graph that stand one behind the other, and what later ones read of them.

    ``like`` is the model whose version and imports hold; ``held`` are the tensors of the file.
    """

    def __init__(
        self,
        nodes: Iterable[NodeProto],
        outputs: Iterable[str],
        held: Mapping[str, TensorProto],
        like: ModelProto,
    ) -> None:
        self.nodes, self.outputs, self.like = list(nodes), list(outputs), like
        made = {name for node in self.nodes for name in node.output}
        wanted = dict.fromkeys(name for node in self.nodes for name in reads(node))
        self.held = [held[name] for name in wanted if name in held and name not in made]
        self.inputs = [name for name in wanted if name not in made and name not in held]
        self._sessions: dict[tuple[bytes, ...], Run] = {}

    def run(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """What later nodes read, by name; ``values`` holds everything that was computed before.

        Raises InputError naming the operator that cannot be run.
        """
        # A name inside a graph of a node may be that graph's own.
        feeds = {name: values[name] for name in self.inputs if name in values}
        types = {name: _type(name, value) for name, value in feeds.items()}
        key = tuple(t.SerializeToString() for t in types.values())
        if key not in self._sessions:
            self._sessions[key] = self._session(types)
        found = self._sessions[key](self.outputs, feeds)
        return dict(zip(self.outputs, map(_plain, found), strict=True))

    def _session(self, types: Mapping[str, TypeProto]) -> Run:
        ort = runtime()
        if ort is not None:
            content = self._model(self.nodes, self.outputs, types).SerializeToString()
            try:
                made = session(ort, content)
            except Exception as error:  # noqa: BLE001  its errors share no class of their own
                return self._evaluator(types, f"; ONNX Runtime: {one_line(error)}")
            return lambda outputs, feeds: self._asked(made, outputs, feeds)
        return self._evaluator(types, "")

    def _asked(self, made: Any, outputs: list[str], feeds: dict[str, Value]) -> list[Value]:
        try:
            return list(made.run(outputs, feeds))
        except Exception as error:  # noqa: BLE001  as above
            raise InputError(f"{self._named()} cannot be run: {one_line(error)}") from None

    def _evaluator(self, types: Mapping[str, TypeProto], told: str) -> Run:
        """One node after the other by the onnx package, so that the one that fails is known.

        ``told`` is why ONNX Runtime does not run them.
        """
        for node in self.nodes:
            if any(model_proto.subgraphs(node)):
                raise InputError(f"{_said(node)} cannot be run{told}")
        steps = [(node, self._evaluated(node, types, told)) for node in self.nodes]

        def run(outputs: list[str], feeds: dict[str, Value]) -> list[Value]:
            known: dict[str, Value] = dict(feeds)
            for node, evaluate in steps:
                names = [name for name in node.output if name]
                here = {name: known[name] for name in node.input if name in known}
                with np.errstate(all="ignore"):  # as every runtime: infinity is a number
                    known |= dict(zip(names, evaluate(names, here), strict=True))
            return [known[name] for name in outputs]

        return run

    def _evaluated(self, node: NodeProto, types: Mapping[str, TypeProto], told: str) -> Run:
        from onnx.reference import ReferenceEvaluator

        made = {name for other in self.nodes for name in other.output}
        given = {
            name: types.get(name, model_proto.library().TypeProto())
            for name in node.input
            if name in types or name in made
        }
        names = [name for name in node.output if name]
        model = self._model([node], names, given)
        for one in model.opset_import:
            if not one.domain and not node.domain:
                one.version = max(one.version, LIFTED.get(node.op_type, 1))

        def run(outputs: list[str], feeds: dict[str, Value]) -> list[Value]:
            try:
                return list(ReferenceEvaluator(model).run(outputs, feeds))
            except ERRORS as error:
                why = one_line(" ".join(str(error).split()))
                raise InputError(f"{_said(node)} cannot be run: {why}{told}") from None

        return run

    def _model(
        self, nodes: list[NodeProto], outputs: list[str], types: Mapping[str, TypeProto]
    ) -> ModelProto:
        onnx = model_proto.library()
        wanted = {name for node in nodes for name in reads(node)}
        infos = [onnx.ValueInfoProto(name=name, type=of) for name, of in types.items()]
        results = [onnx.ValueInfoProto(name=name) for name in outputs]
        held = [tensor for tensor in self.held if tensor.name in wanted]
        graph = onnx.helper.make_graph(nodes, "piece", infos, results, held)
        model: ModelProto = onnx.helper.make_model(
            graph, opset_imports=list(self.like.opset_import), ir_version=self.like.ir_version
        )
        return model

    def _named(self) -> str:
        kinds = dict.fromkeys(one_line(node.op_type)[:60] for node in self.nodes)
        return f"the operator{'s' if len(kinds) > 1 else ''} {', '.join(kinds)}"


def _said(node: NodeProto) -> str:
    name = f" node {one_line(node.name)[:80]!r}" if node.name else ""
    domain = f"{one_line(node.domain)[:60]}." if node.domain else ""
    return f"the operator {domain}{one_line(node.op_type)[:60]}{name}"


def _type(name: str, value: Value) -> TypeProto:
    """ONNX's type of a value, any shape of that many axes."""
    helper = model_proto.library().helper
    if isinstance(value, list):
        if not value:
            raise InputError(f"{one_line(name)[:80]} is an empty sequence, whose type is not known")
        many: TypeProto = helper.make_sequence_type_proto(_type(name, value[0]))
        return many
    array = np.asarray(value)
    kind = np.dtype(object) if array.dtype.kind in "OUS" else array.dtype
    dtype = helper.np_dtype_to_tensor_dtype(kind)
    one: TypeProto = helper.make_tensor_type_proto(dtype, [None] * array.ndim)
    return one


def _plain(value: Value) -> Value:
    return value if value is None or isinstance(value, list) else np.asarray(value)
