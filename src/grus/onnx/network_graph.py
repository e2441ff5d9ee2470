"""The graph of a stack of recurrent layers: the module that it is, the nodes, and the shapes that
join them.

Imports no torch: a module is known by its attributes and its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grus.dialects.network import Network, Pair
from grus.dialects.torch_record import TorchRecord, current
from grus.equations import CELLS, Cell
from grus.errors import InputError
from grus.onnx import model_proto
from grus.onnx.forms import Written, attributes
from grus.onnx.stored import INPUTS

if TYPE_CHECKING:
    from onnx import ModelProto

Array = Any
MODES = {"GRU": "gru", "LSTM": "lstm", "RNN_TANH": "rnn", "RNN_RELU": "rnn_relu"}
"""What torch calls the cell of nn.GRU, nn.LSTM and nn.RNN."""


@dataclass(frozen=True)
class ModuleNetwork:
    """A network, and whether its module takes the batch first."""

    network: Network
    batch_first: bool = False
    turned: bool = False
    """Outputs come in the order of processing: a network that runs backward has its first step,
    the last in time, first."""


def module_network(module: Any) -> ModuleNetwork:
    """The network that a module is: ``nn.GRU``, ``nn.LSTM``, ``nn.RNN`` or `grus.Recurrent`.

    A `Network` is itself, and so is what this gave before. Dropout between layers is left out, as
    in evaluation. Raises InputError for anything else, a projection, and numbers that are neither
    float32 nor float64.
    """
    if isinstance(module, ModuleNetwork):
        return module
    if isinstance(module, Network):
        return ModuleNetwork(module)
    cell = _cell(module)
    if cell is None:
        raise InputError(_refusal(module))
    if getattr(module, "proj_size", 0):
        raise InputError("ONNX has no projection after the state: proj_size must be 0")
    if connect := getattr(module, "connect", ""):
        raise InputError(
            f"layers joined by connect={connect!r} are no stack that a weight file or a Network"
            " holds; torch.onnx.export(model, args, path) writes them as nodes"
        )
    ends = ("", "_reverse") if module.bidirectional else ("",)
    rows = int(module.num_layers)
    record, size = TorchRecord(cell), int(module.hidden_size)
    own_names = record.shapes({"input": int(module.input_size), "hidden": size}, bool(module.bias))
    names = [f"{name}_l{k}{end}" for k in range(rows) for end in ends for name in own_names]
    tensors = {name: _array(name, t) for name, t in current(module, names).items()}
    layers, pairs = [], []
    for k in range(rows):
        found = [_row(record, tensors, f"_l{k}{end}", size) for end in ends]
        layers.append(tuple(weights for weights, _ in found))
        pairs.append(tuple(pair for _, pair in found))
    kept = tuple(pairs) if pairs[0][0] is not None else ()
    return ModuleNetwork(Network(cell, tuple(layers), pairs=kept), bool(module.batch_first))


def _cell(module: Any) -> Cell | None:
    """The cell of a recurrent module; None for any other."""
    own, mode = getattr(module, "cell", None), getattr(module, "mode", None)
    cell = own if isinstance(own, Cell) else CELLS.get(MODES.get(str(mode), ""))
    layers = getattr(module, "num_layers", 0)
    return cell if layers and hasattr(module, "state_dict") else None


def _refusal(module: Any) -> str:
    """Why a module is not written, and for a whole model by which call it is."""
    kind = type(module).__name__
    inside = getattr(module, "named_modules", lambda: ())()
    names = [name for name, one in inside if _cell(one) is not None]
    if names:
        return (
            f"{kind} is a whole model, whose recurrent modules alone are written here"
            f" ({', '.join(names[:9])}); torch.onnx.export(model, args, path) writes it whole, with"
            " a node for each recurrent layer, and grus.onnx.load runs that"
        )
    return (
        "only a grus or torch recurrent module (nn.GRU, nn.LSTM, nn.RNN, grus.Recurrent) or a"
        f" Network can be written, not {kind}"
    )


def _array(name: str, tensor: Any) -> Array:
    kind = str(tensor.dtype)
    if kind not in ("torch.float32", "torch.float64"):
        raise InputError(f"{name} must be float32 or float64 to be written, got {kind}")
    return tensor.detach().cpu().numpy().copy()


def _row(
    record: TorchRecord, tensors: Mapping[str, Array], end: str, size: int
) -> tuple[dict[str, Array], Pair | None]:
    """One layer in one direction: its weights by family, and its two biases where it has two."""
    own = {name.removesuffix(end): t for name, t in tensors.items() if name.endswith(end)}
    dtype = next(iter(own.values())).dtype
    weights = record.families(own, size, lambda n: np.zeros(n, dtype), np.concatenate)
    return weights, record.pair(own, size)


OPSET, IR = 17, 8
"""Runtimes of 2022 and later read these."""
STATES = {"h": ("h0", "h_n"), "c": ("c0", "c_n")}
LONGEST = 2**31 - 1


class NetworkGraph:
    """Nodes and tensors of one network, in the order in which they are computed."""

    def __init__(self, one: ModuleNetwork, lengths: bool) -> None:
        self.onnx = model_proto.library()
        self.network, self.batch_first, self.lengths = one.network, one.batch_first, lengths
        self.turned = one.turned
        self.states = tuple(s for s in "hc" if s in one.network.cell.states)
        self.nodes: list[Any] = []
        self.held: list[Any] = []
        self.inputs: list[Any] = []
        self.finals: dict[str, list[str]] = {state: [] for state in self.states}

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Append a node; gives the name of its first output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        made = self.onnx.helper.make_node(kind, inputs, outputs, name=name, **attributes)
        self.nodes.append(made)
        return outputs[0]

    def hold(self, name: str, array: Array) -> str:
        """Keep a tensor in the file; gives its name."""
        self.held.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def begin(self) -> str:
        """Inputs, time first, and the initial states of this batch; gives the name of x."""
        info = self.onnx.helper.make_tensor_value_info
        dtype = self.onnx.helper.np_dtype_to_tensor_dtype(self.network.dtype)
        axes = ["batch", "time"] if self.batch_first else ["time", "batch"]
        self.inputs = [info("x", dtype, [*axes, self.network.input_size])]
        rows = len(self.network.layers) * self.network.directions
        x = "x"
        if self.batch_first:
            x = self.node("Transpose", ["x"], ["x_time_first"], perm=[1, 0, 2])
        self.node("Shape", [x], ["x_shape"])
        batch = self.node("Gather", ["x_shape", self.hold("at_1", np.array([1]))], ["batch"])
        one = self.hold("one", np.array([1]))
        shape = self.node("Concat", [one, batch, one], ["one_batch_one"], axis=0)
        for state in self.states:
            name, _ = STATES[state]
            # An input with a value in the file may be left out; one row of zeros stands for all.
            zeros = np.zeros((rows, 1, self.network.hidden_size), self.network.dtype)
            self.hold(name, zeros)
            shape_given = [rows, f"{name}_batch", self.network.hidden_size]
            self.inputs.append(info(name, dtype, shape_given))
            self.node("Expand", [name, shape], [f"{name}_rows"])
        if self.lengths:
            self._lengths(batch)
        return x

    def _lengths(self, batch: str) -> None:
        """Lengths that may be left out: the longest there is, cut to the time of x."""
        info = self.onnx.helper.make_tensor_value_info
        self.inputs.append(info("lengths", self.onnx.TensorProto.INT32, ["lengths_batch"]))
        self.hold("lengths", np.array([LONGEST], np.int32))
        time = self.node("Gather", ["x_shape", self.hold("at_0", np.array([0]))], ["time"])
        time = self.node("Cast", [time], ["time_int32"], to=self.onnx.TensorProto.INT32)
        short = self.node("Min", ["lengths", time], ["lengths_in_time"])
        self.node("Expand", [short, batch], ["sequence_lens"])

    def layer(self, k: int, below: str, written: Written, tensors: Mapping[str, Array]) -> str:
        """One recurrent node over ``below``; gives the name of its output [time, batch, D * H]."""
        form, two = written.form, self.network.directions == 2
        single = "reverse" if self.network.reverse else "forward"
        names = {name: self.hold(f"{name}_l{k}", array) for name, array in tensors.items()}
        names |= {"X": below}
        names |= {"sequence_lens": "sequence_lens"} if self.lengths else {}
        names |= {f"initial_{state}": self._row(k, STATES[state][0]) for state in self.states}
        outputs = [f"Y_l{k}", *(f"Y_{state}_l{k}" for state in self.states)]
        for state, name in zip(self.states, outputs[1:], strict=True):
            self.finals[state].append(name)
        self.node(
            form.kind,
            _trimmed([names.get(name, "") for name in INPUTS[form.kind]]),
            outputs,
            direction="bidirectional" if two else single,
            hidden_size=self.network.hidden_size,
            **attributes(form, 2 if two else 1),
        )
        last = k == len(self.network.layers) - 1
        plain = not (self.batch_first or self.turned)
        name = "output" if last and plain else f"output_l{k}"
        if not two:
            axis = self._once("axis_1", np.array([1]))
            return self.node("Squeeze", [outputs[0], axis], [name])
        beside = self.node("Transpose", [outputs[0]], [f"Y_l{k}_beside"], perm=[0, 2, 1, 3])
        shape = self._once("time_batch_rest", np.array([0, 0, -1]))
        return self.node("Reshape", [beside, shape], [name])

    def _row(self, k: int, start: str) -> str:
        """The initial state of layer k: its rows of h0."""
        d = self.network.directions
        if len(self.network.layers) == 1:
            return f"{start}_rows"
        begin = self._once(f"row_{k * d}", np.array([k * d]))
        end = self._once(f"row_{(k + 1) * d}", np.array([(k + 1) * d]))
        axis = self._once("axis_0", np.array([0]))
        return self.node("Slice", [f"{start}_rows", begin, end, axis], [f"{start}_l{k}"])

    def _once(self, name: str, array: Array) -> str:
        return name if any(t.name == name for t in self.held) else self.hold(name, array)

    def end(self, top: str) -> ModelProto:
        """Outputs in the caller's layout; the model."""
        info = self.onnx.helper.make_tensor_value_info
        dtype = self.onnx.helper.np_dtype_to_tensor_dtype(self.network.dtype)
        if self.turned:
            numbers = {"turn_from": -1, "turn_to": -LONGEST, "turn_axis": 0, "turn_by": -1}
            held = [self.hold(name, np.array([number])) for name, number in numbers.items()]
            name = "turned" if self.batch_first else "output"
            top = self.node("Slice", [top, *held], [name])
        if self.batch_first:
            self.node("Transpose", [top], ["output"], perm=[1, 0, 2])
        axes = ["batch", "time"] if self.batch_first else ["time", "batch"]
        d, size = self.network.directions, self.network.hidden_size
        outputs = [info("output", dtype, [*axes, d * size])]
        for state, names in self.finals.items():
            _, final = STATES[state]
            self.node("Concat", names, [final], axis=0)
            outputs.append(info(final, dtype, [len(names) * d, "batch", size]))
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, "grus", self.inputs, outputs, self.held)
        opset = helper.make_opsetid("", OPSET)
        made: ModelProto = helper.make_model(
            graph, producer_name="grus", opset_imports=[opset], ir_version=IR
        )
        return made


def _trimmed(names: list[str]) -> list[str]:
    """Without what is left out at the end."""
    while names and not names[-1]:
        names.pop()
    return names
