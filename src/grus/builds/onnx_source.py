"""An ONNX model as a chain of layers: its graph read node by node.

What flows is what flows through a torch module (`flow`); beside it the numbers that the file holds
(`onnx.Model.array`), and shapes (`onnx_shapes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grus import onnx
from grus.builds.activations import ACTIVATIONS, ONNX, refused
from grus.builds.file_layers import only_forward
from grus.builds.flow import FEATURES, PLAIN, Flow, State, laid_out
from grus.builds.model import Array, Model
from grus.builds.onnx_shapes import DIRECTION, Shape, of_flow, of_shapes, reshaped
from grus.errors import InputError
from grus.weight_file import one_line

KEPT = ("Identity", "Dropout", "Cast")
ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}
ALL_OUTPUTS = dict(
    zip(("Softmax", "LogSoftmax", "ArgMax"), ("softmax", "log_softmax", "argmax"), strict=True)
)
INTEGERS = (6, 7)
"""ONNX' numbers of int32 and int64."""
ODD = (IndexError, KeyError, TypeError, ValueError, OverflowError)
"""What a node with too few inputs raises, or with axes that its input has not."""
FIELDS = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints"}
"""ONNX' number of an attribute's type -> the field that holds it."""
Value = Flow | State | Shape | Array | None


def read_onnx(path: Path, logits: bool) -> Model:
    """The model that an ONNX file is. Raises InputError, beginning with the path, for a file that
    cannot be read or built."""
    model = onnx.load(path)
    try:
        return _Reading(model, logits).model()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


@dataclass(frozen=True, eq=False)
class Call:
    """A node of the graph: what it is called by, its values and its attributes."""

    path: str
    kind: str
    values: list[Value]
    attributes: Mapping[str, Any]

    def array(self, place: int) -> Array | None:
        """The input at a place, where it is numbers of the file."""
        value = self.values[place] if place < len(self.values) else None
        return value if isinstance(value, np.ndarray) else None

    def setting(self, place: int, name: str, default: Any = None) -> Any:
        """What newer models give as an input and older ones as an attribute, as a list of numbers.
        Raises InputError where it is computed."""
        value = self.values[place] if place < len(self.values) else None
        if value is None:
            value = self.attributes.get(name, default)
        if isinstance(value, (Flow, State, Shape)):
            raise InputError(f"{self.path}: {self.kind} cannot be built: its {name} are computed")
        return value if value is None else np.asarray(value).ravel().tolist()


@dataclass
class _Reading:
    model_read: onnx.Model
    logits: bool
    values: dict[str, Value] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """The axes of the first input that have a fixed size."""

    def model(self) -> Model:
        """Follow the nodes to what the graph gives."""
        graph, read = self.model_read.proto.graph, self.model_read
        recurrent = {name: n for n in read.nodes.values() for name in n.outputs.values()}
        for entry in graph.input:
            if entry.name in read.inputs:
                self.values[entry.name] = (
                    Shape(argument=True) if self.values else self._first(entry.type.tensor_type)
                )
        for number, node in enumerate(graph.node):
            path = one_line(node.name)[:80] or f"{one_line(node.op_type)[:40]}_{number}"
            if node.domain:
                raise refused(path, one_line(f"{node.domain}.{node.op_type}")[:80])
            fields = {
                a.name: getattr(a, FIELDS[a.type]) for a in node.attribute if a.type in FIELDS
            }
            call = Call(path, node.op_type, [self._value(name) for name in node.input], fields)
            known = next((recurrent[name] for name in node.output if name in recurrent), None)
            try:
                outputs = self._outputs(call, known, node)
            except InputError:
                raise
            except ODD as error:
                raise InputError(f"{path}: {call.kind} is given what it cannot take") from error
            for name, value in zip(node.output, outputs, strict=False):
                if name and value is not None:
                    self.values[name] = value
        flows = [v for o in graph.output if isinstance(v := self.values.get(o.name), Flow)]
        if len({id(flow.chain) for flow in flows}) != 1:
            raise InputError(f"it gives {len(flows) or 'no'} outputs of layers, and one is built")
        return flows[0].chain.model()

    def _first(self, kind: Any) -> Flow:
        """The first input of the graph, by its type."""
        dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
        if not kind.HasField("shape"):
            return Flow()
        whole = kind.elem_type in INTEGERS
        axes = PLAIN[: len(dims)] if whole else (*PLAIN[: len(dims) - 1], FEATURES)
        if len(dims) > 3 or not dims:
            raise InputError(f"its first input has {len(dims)} axes, and a sequence has 3")
        self.sizes = {axis: size for axis, size in zip(axes, dims, strict=True) if size > 0}
        return Flow(axes=axes)

    def _value(self, name: str) -> Value:
        if not name:
            return None
        if name in self.values:
            return self.values[name]
        array = self.model_read.array(name)
        if array is None:
            raise InputError(f"nothing computes {one_line(name)[:80]}, which is read")
        return array

    def _outputs(self, call: Call, known: onnx.Recurrent | None, node: Any) -> list[Value]:
        if known is not None:
            return self._recurrent(call, known)
        if not any(isinstance(value, (Flow, State)) for value in call.values):
            arrays = [self.model_read.array(name) for name in node.output if name]
            if all(array is not None for array in arrays):
                return list(arrays)
            return [of_shapes(call.kind, call.values, node)] * len(node.output)
        if call.kind == "Shape" and isinstance(call.values[0], Flow):
            ends = slice(call.attributes.get("start", 0), call.attributes.get("end"))
            return [Shape(of_flow(call.values[0])[ends])]
        if any(isinstance(value, State) for value in call.values):
            return [self._state(call)]
        return [self._flow(call)]

    def _recurrent(self, call: Call, known: onnx.Recurrent) -> list[Value]:
        x, path, layout = call.values[0], call.path, known.node.layout
        if not isinstance(x, Flow):
            raise InputError(f"{path}: {call.kind} reads no output of a layer")
        only_forward(path, known.node.direction != "forward")
        flow, notes = x.running(path, bool(layout)), []
        for name, value in zip(("lengths", "states", "states"), call.values[4:7], strict=False):
            if isinstance(value, Shape) and (value.argument or name == "lengths"):
                notes.append(f"{path}: {name} given to it are not read: states begin at zero")
            elif value is not None and (name == "lengths" or not is_zero(value)):
                raise InputError(f"{path} is given {name}: a built model begins at zero, unpadded")
        weights, cell = known.weights(), known.cells[0]
        inputs = int(weights["W"].shape[1])
        flow = flow.of(flow.chain.recurrent(path, cell, weights, inputs).noted(*notes))
        first, second, last = flow.known
        axes = (first, second, DIRECTION, last) if layout else (first, DIRECTION, second, last)
        states = [State(flow, 1, cell.output == f"{name}_next") for name in ("h", "c")]
        return [flow.laid(axes), *states]

    def _state(self, call: Call) -> Value:
        """What is done to final states; None where it is no single row of them."""
        state, axis = call.values[0], call.attributes.get("axis", 0)
        states = [value for value in call.values if isinstance(value, State)]
        if call.kind == "Concat" and axis == 0 and len(states) == len(call.values):
            rows = sum(each.rows for each in states)
            return State(states[-1].flow, rows, states[-1].output)
        if not isinstance(state, State):
            raise refused(call.path, f"{call.kind} of a state")
        if call.kind in KEPT:
            return state
        if not state.output:
            return Shape()
        if call.kind == "Squeeze" and state.rows == 1 and call.setting(1, "axes", [0]) == [0]:
            return state.row(call.path, 0)
        index = call.array(1)
        if call.kind == "Gather" and axis == 0 and index is not None and index.ndim == 0:
            return state.row(call.path, int(index))
        return Shape()

    def _flow(self, call: Call) -> Value:
        """What a node gives of what layers gave."""
        read = call.values[0]
        if call.kind in KEPT:
            return read
        if call.kind in ARITHMETIC:
            return self._arithmetic(call)
        if call.kind == "Gather" and isinstance(read, np.ndarray):
            return self._looked_up(call, read)
        if not isinstance(read, Flow):
            raise refused(call.path, call.kind)
        if call.kind in MOVES:
            return MOVES[call.kind](self, call, read)
        if call.kind in ALL_OUTPUTS and self.logits:
            return read.of(read.chain.without(call.path, ALL_OUTPUTS[call.kind]))
        return self._activated(call, read)

    def _activated(self, call: Call, read: Flow) -> Flow:
        known = ONNX.get(call.kind)
        if call.kind == "Gelu" and call.attributes.get("approximate") == b"tanh":
            known = ACTIVATIONS["gelu_tanh"]
        if call.kind == "Clip":
            ends = [call.setting(1, "min"), call.setting(2, "max")]
            limits = [None if end is None else end[0] for end in ends]
            named = dict(zip(("min", "max"), limits, strict=True))
            clamp = ACTIVATIONS["clamp"].function(call.path, named)
            return read.of(read.chain.applied(call.path, clamp, "clip"))
        if known is None:
            raise refused(call.path, ALL_OUTPUTS.get(call.kind, one_line(call.kind)[:40]))
        function = known.function(call.path, call.attributes)
        return read.of(read.chain.applied(call.path, function, call.kind.lower()))

    def _looked_up(self, call: Call, table: Array) -> Flow:
        symbols = call.values[1]
        if not isinstance(symbols, Flow) or symbols.chain.layers or table.ndim != 2:
            raise refused(call.path, "Gather")
        flow = symbols.laid((*symbols.known, FEATURES))
        return flow.of(flow.chain.looked_up(call.path, table))

    def _arithmetic(self, call: Call) -> Flow:
        name, (left, right) = ARITHMETIC[call.kind], call.values
        if isinstance(left, Flow) and isinstance(right, Flow):
            if left.known != right.known:
                raise refused(call.path, name)
            return left.of(left.chain.joined(call.path, right.chain, name))
        flow, number = (left, right) if isinstance(left, Flow) else (right, left)
        if not isinstance(flow, Flow) or not isinstance(number, np.ndarray):
            raise refused(call.path, f"{call.kind} of what is computed")
        if number.size > 1:
            flow = flow.along(call.path)
        return flow.of(flow.chain.with_number(call.path, name, number, flow is not left))

    def _matrix(self, call: Call, read: Flow) -> Flow:
        """MatMul, or Gemm with its bias."""
        weight, bias = call.array(1), call.array(2)
        plain = all(call.attributes.get(name, 1) == 1 for name in ("alpha", "beta"))
        computed = weight is None or (bias is None and call.values[2:] not in ([], [None]))
        if computed or not plain or call.attributes.get("transA"):
            raise refused(call.path, f"{call.kind} of what is computed, or scaled,")
        matrix = np.asarray(weight) if call.attributes.get("transB") else np.asarray(weight).T
        if bias is not None:
            bias = np.broadcast_to(bias.ravel(), matrix.shape[:1])
        flow = read.along(call.path)
        return flow.of(flow.chain.linear(call.path, matrix, bias))

    def _norm(self, call: Call, read: Flow) -> Flow:
        arrays = [call.array(place) for place in range(1, 5)]
        if any(array is None for array in arrays):
            raise refused(call.path, f"{call.kind} of what is computed")
        gain, shift, mean, variance = (np.asarray(array, np.float64) for array in arrays)
        with np.errstate(all="ignore"):  # what is no number is refused with its layer
            gain = gain / np.sqrt(variance + call.attributes.get("epsilon", 1e-5))
        flow = read.along(call.path, normed=True)
        return flow.of(flow.chain.scaled(call.path, gain, shift - mean * gain))

    def _layer_norm(self, call: Call, read: Flow) -> Flow:
        gain, shift = call.array(1), call.array(2)
        computed = gain is None or (shift is None and call.values[2:] not in ([], [None]))
        if computed or call.attributes.get("axis", -1) not in (-1, len(read.known) - 1):
            raise refused(call.path, f"{call.kind} of what is computed, or over several axes,")
        scale = np.asarray(gain).ravel()
        shift = np.zeros_like(scale) if shift is None else shift.ravel()
        flow, epsilon = read.along(call.path), call.attributes.get("epsilon", 1e-5)
        return flow.of(flow.chain.normed(call.path, scale, shift, epsilon))

    def _transposed(self, call: Call, read: Flow) -> Flow:
        order = call.attributes.get("perm") or range(len(read.known))[::-1]
        return read.laid(tuple(read.known[axis] for axis in order))

    def _squeezed(self, call: Call, read: Flow) -> Flow:
        axes = call.setting(1, "axes")
        if axes is not None and len(axes) == 1 and read.known[axes[0]] == DIRECTION:
            return read.laid(tuple(axis for axis in read.known if axis != DIRECTION))
        return laid_out(call.path, "squeeze", read, axes or [])

    def _unsqueezed(self, call: Call, read: Flow) -> Value:
        axes = call.setting(1, "axes")
        if axes == [0] and read.time and read.time not in read.known:  # states one on the other
            return State(read, 1, output=True)
        return laid_out(call.path, "unsqueeze", read, axes)

    def _reshaped(self, call: Call, read: Flow) -> Flow:
        return read.laid(reshaped(call.path, read, call.values[1:], call.attributes, self.sizes))

    def _part(self, call: Call, read: Flow) -> Flow:
        """One index of an axis: the direction that there is, or the last step."""
        axis = read.known[call.attributes.get("axis", 0)]
        index, array = call.setting(1, "indices"), call.array(1)
        single = array is not None and array.ndim == 0
        if axis == DIRECTION and index in ([0], [-1]) and single:
            return read.laid(tuple(a for a in read.known if a != DIRECTION))
        if axis == read.time and index in ([-1], [self.sizes.get(axis, 0) - 1]):
            return read.last() if single else read.last().laid(read.known)
        raise InputError(f"{call.path}: {call.kind} takes a part that is not the last step")

    def _sliced(self, call: Call, read: Flow) -> Flow:
        starts, ends = call.setting(1, "starts"), call.setting(2, "ends")
        axes = call.setting(3, "axes", list(range(len(starts))))
        steps, flow = call.setting(4, "steps", [1] * len(starts)), read
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            whole = start == 0 and end >= FAR
            last = start == -1 and end >= FAR and read.known[axis] == read.time
            if step != 1 or not (whole or last):
                raise InputError(f"{call.path}: Slice takes a part that is not the last step")
            flow = flow.last().laid(read.known) if last else flow
        return flow


def is_zero(value: Value) -> bool:
    """Whether a state is zeros."""
    if isinstance(value, np.ndarray):
        return not value.any()
    return isinstance(value, Shape) and value.zero


FAR = 2**31 - 1
"""What exporters write for the end of an axis, or more."""
MOVES: dict[str, Callable[[_Reading, Call, Flow], Value]] = {
    "MatMul": _Reading._matrix,
    "Gemm": _Reading._matrix,
    "BatchNormalization": _Reading._norm,
    "LayerNormalization": _Reading._layer_norm,
    "Transpose": _Reading._transposed,
    "Squeeze": _Reading._squeezed,
    "Unsqueeze": _Reading._unsqueezed,
    "Flatten": lambda reading, call, read: laid_out(
        call.path, "flatten", read, [call.attributes.get("axis", 1)]
    ),
    "Reshape": _Reading._reshaped,
    "Gather": _Reading._part,
    "Slice": _Reading._sliced,
}
