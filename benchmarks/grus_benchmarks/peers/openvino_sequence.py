"""OpenVINO: GRUSequence and LSTMSequence, weights as constants, forward only."""

from __future__ import annotations

from typing import Any

import numpy as np

from grus_benchmarks.peers.layouts import OPENVINO, stacked
from grus_benchmarks.problem import FORWARD, Problem
from grus_benchmarks.wire import Array, Arrays
from grus_benchmarks.worker import Loaded


class OpenVino:
    """The CPU plugin; its x is [batch, time, input], and is given so."""

    def __init__(self, threads: int) -> None:
        import openvino

        self.options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        said = ", ".join(f"{key}={value}" for key, value in self.options.items())
        self.about = {"version": f"openvino {openvino.get_version()}", "threads": said}

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        """A compiled model and one request of it."""
        import openvino

        model, feeds = _model(problem, given)
        request = openvino.Core().compile_model(model, "CPU", self.options).create_infer_request()

        def call(dy: Any) -> Any:
            return request.infer(feeds, share_inputs=True, share_outputs=True)[0]

        return Loaded({FORWARD: call}, lambda dy: dy, lambda kind, y: {"output": joined(y)})


def joined(y: Array) -> Array:
    """[batch, direction, time, hidden] in the order of time, the directions side by side."""
    return y.transpose(2, 0, 1, 3).reshape(y.shape[2], y.shape[0], -1)


def _model(problem: Problem, given: Arrays) -> tuple[Any, list[Array]]:
    """The graph, and what is fed to it."""
    import openvino
    from openvino import opset13 as ops

    batch, hidden, count = problem.shape.batch, problem.shape.hidden, problem.directions
    feeds = [np.ascontiguousarray(given["x"].swapaxes(0, 1))]
    feeds += [given[k].swapaxes(0, 1).copy() for k in problem.states if k in given]
    inputs = [ops.parameter(list(array.shape), np.float32) for array in feeds]
    source: Any = inputs[0]
    zeros = [ops.constant(np.zeros((batch, count, hidden), np.float32)) for _ in problem.states]
    lengths = ops.constant(np.full(batch, problem.shape.steps, np.int32))
    for layer in range(problem.layers):
        node = _sequence(problem, given, layer, [source, *(inputs[1:] or zeros), lengths])
        source = node.output(0)
        if layer + 1 < problem.layers:
            turned = ops.transpose(source, ops.constant(np.array([0, 2, 1, 3])))
            source = ops.reshape(turned, ops.constant(np.array([0, 0, -1])), True)
    return openvino.Model([source], inputs, "m"), feeds


def _sequence(problem: Problem, given: Arrays, layer: int, sources: list[Any]) -> Any:
    from openvino import opset13 as ops

    parts = stacked(given, problem, layer, OPENVINO[problem.cell])
    hidden = problem.shape.hidden
    kind = "bidirectional" if problem.directions == 2 else "forward"
    weights = [np.stack([one[k] for one in parts]) for k in "wu"]
    if problem.cell == "lstm":
        biases = np.stack([one["b"] + one["d"] for one in parts])
        constants = map(ops.constant, [*weights, biases])
        return ops.lstm_sequence(*sources, *constants, hidden, kind)
    biases = np.stack([_gru_biases(one["b"], one["d"], hidden) for one in parts])
    constants = map(ops.constant, [*weights, biases])
    return ops.gru_sequence(*sources, *constants, hidden, kind, linear_before_reset=True)


def _gru_biases(b: Array, d: Array, hidden: int) -> Array:
    """Those of z and r summed, then the candidate's two: [4 H]."""
    gates = (b + d)[: 2 * hidden]
    return np.concatenate([gates, b[2 * hidden :], d[2 * hidden :]])
