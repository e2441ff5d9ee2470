"""ONNX Runtime: one node a layer, weights as initializers, forward only."""

from __future__ import annotations

from typing import Any

import numpy as np

from grus_benchmarks.peers.layouts import ONNX, stacked
from grus_benchmarks.problem import FORWARD, Problem
from grus_benchmarks.wire import Array, Arrays
from grus_benchmarks.worker import Loaded

OPSET = 14


class OnnxRuntime:
    """The CPU provider. Its threads spin while a call runs and stop spinning at its end."""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.threads = threads
        self.about = {
            "version": f"onnxruntime {onnxruntime.__version__}",
            "threads": f"intra_op_num_threads={threads}, inter_op_num_threads=1,"
            " session.force_spinning_stop=1 (no spinning between calls)",
        }

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        """A session of the model."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(
            model(problem, given), options, providers=["CPUExecutionProvider"]
        )
        feeds = {"x": given["x"]}
        feeds |= {name: given[name] for name in problem.states if name in given}

        def call(dy: Any) -> Any:
            return session.run(["y"], feeds)[0]

        return Loaded({FORWARD: call}, lambda dy: dy, lambda kind, y: {"output": joined(y)})


def joined(y: Array) -> Array:
    """[time, direction, batch, hidden] with the directions side by side."""
    return y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)


def model(problem: Problem, given: Arrays) -> bytes:
    """The graph: a node a layer; between layers the directions are joined."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, source = [], {}, "x"
    starts = [name for name in problem.states if name in given]
    for layer in range(problem.layers):
        for name, value in _weights(problem, given, layer).items():
            weights[f"{name}{layer}"] = value
        nodes.append(_node(problem, layer, source, starts))
        if layer + 1 < problem.layers:
            nodes += _join(problem, layer)
            source = f"x{layer + 1}"
    weights |= {"joined": np.array([0, 0, -1])}
    info, float32 = helper.make_tensor_value_info, TensorProto.FLOAT
    inputs = [info(name, float32, given[name].shape) for name in ("x", *starts)]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", float32, None)], tensors)
    opset = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(made.SerializeToString())


def _weights(problem: Problem, given: Arrays, layer: int) -> Arrays:
    parts = stacked(given, problem, layer, ONNX[problem.cell])
    return {
        "W": np.stack([one["w"] for one in parts]),
        "R": np.stack([one["u"] for one in parts]),
        "B": np.stack([np.concatenate([one["b"], one["d"]]) for one in parts]),
    }


def _node(problem: Problem, layer: int, source: str, starts: list[str]) -> Any:
    from onnx import helper

    more: dict[str, Any] = {"linear_before_reset": 1} if problem.cell == "gru" else {}
    last = layer + 1 == problem.layers
    return helper.make_node(
        problem.cell.upper(),
        [source, f"W{layer}", f"R{layer}", f"B{layer}", *([""] if starts else []), *starts],
        ["y" if last else f"y{layer}"],
        hidden_size=problem.shape.hidden,
        direction="bidirectional" if problem.directions == 2 else "forward",
        **more,
    )


def _join(problem: Problem, layer: int) -> list[Any]:
    from onnx import helper

    turned = helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3])
    return [turned, helper.make_node("Reshape", [f"t{layer}", "joined"], [f"x{layer + 1}"])]
