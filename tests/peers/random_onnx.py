"""Random ONNX models around GRU, LSTM and RNN nodes, and what to feed them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from grus.onnx.node import ORDER, OUTPUTS
from grus.onnx.stored import INPUTS

TENSOR = helper.make_tensor_value_info
STEPS, BATCH, SIZE, HIDDEN = 4, 3, 3, 2
OPSETS = (7, 8, 9, 10, 11, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23)
NAMES = ("Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
         "HardSigmoid", "Elu", "Softsign", "Softplus")  # fmt: skip
TAKES = {"Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2, "LeakyRelu": 1, "Elu": 1,
         "ThresholdedRelu": 1}  # fmt: skip
PLACES = ("plain", "plain", "stack", "If", "Loop", "Scan", "function", "quantized", "computed")


class Random:
    """One random model: ``model``, ``feeds`` by name, and ``said``, what it is."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.held: list[Any] = []
        self.feeds: dict[str, np.ndarray] = {}
        self.functions: list[Any] = []
        self.opset = int(self.rng.choice(OPSETS))
        self.place = str(self.rng.choice(PLACES))
        if self.place == "quantized":
            self.opset = max(self.opset, 10)
        if self.place in ("Loop", "If") and self.opset < 11:
            self.opset = 11
        if self.place == "Scan":
            self.opset = max(self.opset, 9)
        if self.place == "function":
            self.opset = max(self.opset, 13)
        inside = self.place in ("If", "Loop", "Scan", "function")  # where ONNX Runtime has no alias
        self.domain = "ai.onnx" if self._maybe(0.2) and not inside else ""
        self.nodes, outputs = getattr(self, f"_{self.place}")()
        self.model = self._model(outputs)
        self.said = f"seed {seed}: {self.place}, opset {self.opset}"

    def _array(self, name: str, array: np.ndarray) -> str:
        """Hold a tensor, as an initializer or as a Constant node."""
        self.held.append(numpy_helper.from_array(array, name))
        return name

    def _draw(self, *shape: int) -> np.ndarray:
        return self.rng.normal(0, 0.6, shape).astype(np.float32)

    def _maybe(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def _recurrent(self, tag: str, x: str, size: int = SIZE, given: str = "") -> tuple[Any, int]:
        """A random node that reads ``x``, and its directions; ``given`` names an initial state."""
        kind = str(self.rng.choice(("GRU", "LSTM", "RNN")))
        directions, gates = 1 + self._maybe(0.3), len(ORDER[kind])
        direction = "bidirectional" if directions == 2 else str(
            self.rng.choice(("forward", "reverse")))  # fmt: skip
        rows = gates * HIDDEN
        names = dict.fromkeys(INPUTS[kind], "")
        names["X"] = x
        names["W"] = self._array(f"W{tag}", self._draw(directions, rows, size))
        names["R"] = self._array(f"R{tag}", self._draw(directions, rows, HIDDEN))
        if self._maybe():
            names["B"] = self._array(f"B{tag}", self._draw(directions, 2 * rows))
        if kind == "LSTM" and self._maybe():
            names["P"] = self._array(f"P{tag}", self._draw(directions, 3 * HIDDEN))
        if self._maybe(0.4):
            lens = self.rng.integers(0, STEPS + 1, BATCH).astype(np.int32)
            names["sequence_lens"] = self._array(f"lens{tag}", lens)
        for state in ("initial_h", "initial_c"):
            if state in names and self._maybe():
                names[state] = self._array(f"{state}{tag}", self._draw(directions, BATCH, HIDDEN))
        attributes: dict[str, Any] = {"hidden_size": HIDDEN, "direction": direction}
        if self._maybe(0.4):
            attributes["clip"] = float(self.rng.choice((0.3, 1.0, 5.0)))
        if kind == "GRU" and self._maybe():
            attributes["linear_before_reset"] = 1
        if kind == "LSTM" and self._maybe(0.3):
            attributes["input_forget"] = 1
        if self._maybe(0.4):
            attributes |= self._activations({"GRU": 2, "LSTM": 3, "RNN": 1}[kind] * directions)
        if self._maybe(0.1) and self.opset >= 14:
            attributes["layout"] = 1
        inputs = list(names.values())
        while not inputs[-1]:
            inputs.pop()
        outputs = [f"{name}{tag}" for name in OUTPUTS[kind]]
        node = helper.make_node(
            kind, inputs, outputs, name=f"node{tag}", domain=self.domain, **attributes
        )
        return node, directions

    def _activations(self, count: int) -> dict[str, Any]:
        names = [str(self.rng.choice(NAMES)) for _ in range(count)]
        alphas = [float(self.rng.uniform(0.1, 0.6)) for n in names if TAKES.get(n)]
        betas = [float(self.rng.uniform(0.1, 0.6)) for n in names if TAKES.get(n) == 2]
        found: dict[str, Any] = {"activations": names}
        found |= {"activation_alpha": alphas} if alphas else {}
        return found | ({"activation_beta": betas} if betas else {})

    def _x(self, name: str = "X") -> str:
        self.feeds[name] = self.rng.normal(size=(STEPS, BATCH, SIZE)).astype(np.float32)
        return name

    # Where the nodes stand.

    def _plain(self) -> tuple[list[Any], list[str]]:
        node, _ = self._recurrent("", self._x())
        return [node], list(node.output)

    def _stack(self) -> tuple[list[Any], list[str]]:
        """Two nodes with other operators before, between and after them."""
        before = helper.make_node("Tanh", [self._x()], ["x_in"])
        one, directions = self._recurrent("_1", "x_in")
        turn = helper.make_node("Transpose", [one.output[0]], ["turned"], perm=[0, 2, 1, 3])
        shape = self._array("shape", np.array([0, 0, -1]))
        flat = helper.make_node("Reshape", ["turned", shape], ["flat"])
        two, _ = self._recurrent("_2", "flat", directions * HIDDEN)
        after = helper.make_node("Add", [two.output[0], two.output[0]], ["twice"])
        return [before, one, turn, flat, two, after], ["twice", one.output[1], two.output[1]]

    def _quantized(self) -> tuple[list[Any], list[str]]:
        scale = self._array("scale", np.array(0.02, np.float32))
        zero = self._array("zero", np.array(120, np.uint8))
        nodes = [
            helper.make_node("QuantizeLinear", [self._x(), scale, zero], ["x_q"]),
            helper.make_node("DequantizeLinear", ["x_q", scale, zero], ["x_d"]),
        ]
        node, _ = self._recurrent("", "x_d")
        return [*nodes, node], list(node.output)

    def _computed(self) -> tuple[list[Any], list[str]]:
        """W and R come out of other operators over stored tensors."""
        node, _ = self._recurrent("", self._x())
        before = []
        for k in (1, 2):
            held = next(t for t in self.held if t.name == node.input[k])
            array = numpy_helper.to_array(held).swapaxes(1, 2)
            self.held.remove(held)
            name = self._array(f"{held.name}_t", np.ascontiguousarray(array))
            before.append(helper.make_node("Transpose", [name], [held.name], perm=[0, 2, 1]))
        return [*before, node], list(node.output)

    def _If(self) -> tuple[list[Any], list[str]]:
        x = self._x()
        self.feeds["up"] = np.array(self._maybe())
        branches = []
        for tag in ("_a", "_b"):
            node, _ = self._recurrent(tag, x)
            more = helper.make_node("Neg", [node.output[0]], [f"neg{tag}"])
            ends = [TENSOR(name, 1, None) for name in (f"neg{tag}", node.output[1])]
            branches.append(helper.make_graph([node, more], tag, [], ends))
        split = helper.make_node(
            "If", ["up"], ["y", "last"], then_branch=branches[0], else_branch=branches[1]
        )
        return [split], ["y", "last"]

    def _Loop(self) -> tuple[list[Any], list[str]]:
        """Each round runs the node over x plus the number of rounds so far."""
        x = self._x()
        node, _ = self._recurrent("", "x_now")
        one = self._array("one", np.array([0.5], np.float32))
        body = [
            helper.make_node("Add", ["grown", one], ["grown_next"]),
            helper.make_node("Mul", [x, "grown_next"], ["x_now"]),
            node,
            helper.make_node("Identity", ["going"], ["going_next"]),
        ]
        graph = helper.make_graph(
            body, "body",
            [TENSOR("k", 7, []), TENSOR("going", 9, []), TENSOR("grown", 1, [1])],
            [TENSOR("going_next", 9, []), TENSOR("grown_next", 1, [1]),
             TENSOR(node.output[0], 1, None), TENSOR(node.output[1], 1, None)],
        )  # fmt: skip
        trips = self._array("trips", np.array(int(self.rng.integers(1, 4))))
        start = self._array("start", np.array([1.0], np.float32))
        going = "" if self._maybe() else self._array("go", np.array(True))
        loop = helper.make_node("Loop", [trips, going, start], ["end", "ys", "lasts"], body=graph)
        return [loop], ["end", "ys", "lasts"]

    def _Scan(self) -> tuple[list[Any], list[str]]:
        """The node over one slice after another of an axis of x."""
        self.feeds["many"] = self.rng.normal(size=(2, STEPS, BATCH, SIZE)).astype(np.float32)
        node, _ = self._recurrent("", "x_now")
        body = [
            helper.make_node("Add", ["sum", "x_slice"], ["sum_next"]),
            helper.make_node("Identity", ["x_slice"], ["x_now"]),
            node,
        ]
        shape = [STEPS, BATCH, SIZE]
        graph = helper.make_graph(
            body, "body", [TENSOR("sum", 1, shape), TENSOR("x_slice", 1, shape)],
            [TENSOR("sum_next", 1, shape), TENSOR(node.output[0], 1, None)],
        )  # fmt: skip
        start = self._array("start", self._draw(*shape))
        back = [int(self._maybe())]
        scan = helper.make_node(
            "Scan", [start, "many"], ["sums", "ys"], body=graph, num_scan_inputs=1,
            scan_input_directions=back, scan_output_directions=[int(self._maybe())],
            scan_output_axes=[int(self._maybe())] if self.opset >= 9 else [0],
        )  # fmt: skip
        return [scan], ["sums", "ys"]

    def _function(self) -> tuple[list[Any], list[str]]:
        node, _ = self._recurrent("", "x")
        held = [name for name in node.input[1:] if name]
        inner = [helper.make_node("Neg", ["x_before"], ["x"]), node]
        self.functions.append(helper.make_function(
            "mine", "Block", ["x_before", *held], list(node.output), inner,
            [helper.make_opsetid(self.domain, self.opset)],
        ))  # fmt: skip
        outputs = [f"out_{k}" for k in range(len(node.output))]
        call = helper.make_node("Block", [self._x(), *held], outputs, domain="mine")
        return [call], outputs

    def _model(self, outputs: list[str]) -> ModelProto:
        infos = [
            TENSOR(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in self.feeds.items()
        ]
        nodes, held = list(self.nodes), self.held
        if self._maybe(0.3):  # constants as nodes
            nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in held] + nodes
            held = []
        graph = helper.make_graph(
            nodes, "random", infos, [TENSOR(name, 1, None) for name in outputs], held
        )
        opsets = [helper.make_opsetid(self.domain, self.opset)]
        opsets += [helper.make_opsetid("mine", 1)] if self.functions else []
        return helper.make_model(
            graph, opset_imports=opsets, functions=self.functions, ir_version=8
        )
