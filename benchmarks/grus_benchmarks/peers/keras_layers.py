"""Keras' layers on TensorFlow, in a `tf.function`; the faster of XLA and TensorFlow's own loop."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np

from grus_benchmarks.peers.layouts import UPDATE_FIRST, four, restored
from grus_benchmarks.problem import BOTH, BOTH_DX, FORWARD, Problem
from grus_benchmarks.wire import Array, Arrays
from grus_benchmarks.worker import Call, Loaded, fastest


class KerasLayers:
    """GRU(reset_after=True) and LSTM; x is [batch, time, input], the one layout that they take."""

    def __init__(self, threads: int) -> None:
        os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        os.environ["NPROC"] = str(threads)
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.about = {
            "version": f"keras {keras.__version__} on tensorflow {tf.__version__}",
            "threads": f"tf.config.threading: intra_op {threads}, inter_op {threads}",
        }

    def load(self, problem: Problem, given: Arrays) -> Loaded:
        """A stack of layers with these weights, compiled in both ways."""
        import tensorflow as tf

        x = tf.constant(given["x"].swapaxes(0, 1))
        states = [tf.constant(given[k][0]) for k in problem.states if k in given]
        layers = _layers(problem, given)
        variables = [one for layer in layers for one in layer.trainable_variables]
        dy = _put(given["dy"])

        def network(x: Any) -> Any:
            for layer in layers:
                x = layer(x, initial_state=states) if states else layer(x)
            return x

        def both(with_x: bool, x: Any, dy: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = network(x)
            return y, tape.gradient(y, [*variables, *([x] if with_x else [])], dy)

        def quicker(function: Any) -> tuple[Call, bool]:
            ways = [_call(function, x, xla) for xla in (False, True)]
            call = fastest(ways, dy, calls=1)
            return call, call is ways[1]

        calls = {FORWARD: quicker(lambda x, dy: network(x))[0]}
        if not problem.step:
            calls[BOTH], xla = quicker(partial(both, False))
            calls[BOTH_DX] = _call(partial(both, True), x, xla)
        return Loaded(calls, _put, partial(_read, problem))


def _put(dy: Array) -> Any:
    import tensorflow as tf

    return tf.constant(dy.swapaxes(0, 1))


def _call(function: Any, x: Any, xla: bool) -> Call:
    """The function compiled, ending when its results can be read."""
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=xla)

    def call(dy: Any) -> Any:
        return tf.nest.map_structure(lambda value: value.numpy(), compiled(x, dy))

    return call


def _layers(problem: Problem, given: Arrays) -> list[Any]:
    from keras import layers

    made, ends = [], list(problem.parts)
    for k in range(0, len(ends), problem.directions):
        kind = getattr(layers, problem.cell.upper())
        layer = kind(problem.shape.hidden, return_sequences=True)
        if problem.directions == 2:
            layer = layers.Bidirectional(layer)
        layer.build((problem.shape.batch, problem.shape.steps, ends[k][1]))
        mine = ends[k : k + problem.directions]
        layer.set_weights([one for end, _ in mine for one in _weights(problem, given, end)])
        made.append(layer)
    return made


def _weights(problem: Problem, given: Arrays, end: str) -> list[Array]:
    """kernel [I, 3H], recurrent_kernel [H, 3H], bias [2, 3H]; an LSTM's biases are one sum."""
    w, u, b, d = four(given, end, UPDATE_FIRST[problem.cell])
    return [w.T, u.T, np.stack([b, d]) if problem.cell == "gru" else b + d]


def _read(problem: Problem, kind: str, raw: Any) -> dict[str, Array]:
    if kind == FORWARD:
        return {"output": raw.swapaxes(0, 1)}
    output, found = raw
    done, order = {"output": output.swapaxes(0, 1)}, UPDATE_FIRST[problem.cell]
    for k, (end, _) in enumerate(problem.parts):
        w, u, bias = found[3 * k : 3 * k + 3]
        b, d = bias if problem.cell == "gru" else (bias, bias)
        values = zip(
            ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), (w.T, u.T, b, d), strict=True
        )
        done |= {name + end: restored(value, order) for name, value in values}
    if kind == BOTH_DX:
        done["x"] = found[-1].swapaxes(0, 1)
    return done
