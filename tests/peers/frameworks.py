"""How each framework runs a layer on given tensors, with its own code: one function each.

In: a record, tensors as that framework stores them, x [time, batch, input], initial states.
Out: the outputs [time, batch, hidden]. The frameworks are imported inside, by `need`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from grus.dialects import DIALECTS, SECOND, Dialect

Array = np.ndarray
Tensors = Mapping[str, Array]
Run = Callable[[Dialect, Tensors, Array, tuple[Array, ...]], Array]


def need(name: str) -> Any:
    """The module, or a skip that names it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: make test-peers")


def keras(record: Dialect, tensors: Tensors, x: Array, start: tuple[Array, ...]) -> Array:
    layers = need("keras").layers
    after = record.cell_name == "gru"
    made = {
        "gru": lambda **k: layers.GRU(reset_after=after, **k),
        "gru_reset_before": lambda **k: layers.GRU(reset_after=after, **k),
        "lstm": layers.LSTM,
        "rnn": layers.SimpleRNN,
        "rnn_relu": lambda **k: layers.SimpleRNN(activation="relu", **k),
    }
    hidden = start[0].shape[1]
    layer = made[record.cell_name](units=hidden, return_sequences=True, dtype="float64")
    batch_first = np.swapaxes(x, 0, 1)
    layer.build(batch_first.shape)
    layer.set_weights([tensors["W"], tensors["U"], tensors["b"]])
    output = layer(batch_first, initial_state=list(start))
    return np.swapaxes(output.detach().cpu().numpy(), 0, 1)


def torch(record: Dialect, tensors: Tensors, x: Array, start: tuple[Array, ...]) -> Array:
    library = need("torch")
    nn = library.nn
    kinds = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN, "rnn_relu": nn.RNN}
    extra = {"nonlinearity": "relu"} if record.cell_name == "rnn_relu" else {}
    hidden = start[0].shape[1]
    layer = kinds[record.cell_name](x.shape[2], hidden, dtype=library.float64, **extra)
    names = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0", SECOND: "bias_hh_l0"}
    layer.load_state_dict({names[key]: library.from_numpy(v) for key, v in tensors.items()})
    states = tuple(library.from_numpy(s)[None] for s in start)
    output, _ = layer(library.from_numpy(x), states if len(states) > 1 else states[0])
    return output.detach().numpy()


def onnx(record: Dialect, tensors: Tensors, x: Array, start: tuple[Array, ...]) -> Array:
    helper, proto = need("onnx.helper"), need("onnx").TensorProto
    runtime = need("onnxruntime")
    kind = {"lstm": "LSTM", "rnn": "RNN", "rnn_relu": "RNN"}.get(record.cell_name, "GRU")
    attributes: dict[str, Any] = {"hidden_size": start[0].shape[1]}
    if kind == "GRU":
        attributes["linear_before_reset"] = int(record.cell_name == "gru")
    if record.cell_name == "rnn_relu":
        attributes["activations"] = ["Relu"]
    feeds = {"X": x, "W": tensors["W"], "R": tensors["U"], "B": tensors["b"], "H": start[0][None]}
    feeds |= {"C": start[1][None]} if kind == "LSTM" else {}
    inputs = ["X", "W", "R", "B", "", *list(feeds)[4:]]
    node = helper.make_node(kind, inputs, ["Y"], **attributes)
    infos = [helper.make_tensor_value_info(n, proto.FLOAT, v.shape) for n, v in feeds.items()]
    out = helper.make_tensor_value_info("Y", proto.FLOAT, None)
    graph = helper.make_graph([node], "one", infos, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {n: v.astype(np.float32) for n, v in feeds.items()})
    return y[:, 0]


def _steps(step: Callable[[Any, Any], Any], x: Array, start: Array) -> Array:
    """A cell called step by step."""
    state, outputs = start, []
    for now in x:
        state = step(now, state)
        outputs.append(np.asarray(state))
    return np.stack(outputs)


def equinox(record: Dialect, tensors: Tensors, x: Array, start: tuple[Array, ...]) -> Array:
    library, jax = need("equinox"), need("jax")
    jax.config.update("jax_enable_x64", True)
    cell = library.nn.GRUCell(x.shape[2], start[0].shape[1], key=jax.random.PRNGKey(0))
    values = [jax.numpy.asarray(tensors[key]) for key in ("W", "U", "b", SECOND)]
    cell = library.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n), cell, values)
    return _steps(jax.vmap(cell), x, start[0])


def flax(record: Dialect, tensors: Tensors, x: Array, start: tuple[Array, ...]) -> Array:
    linen, jax = need("flax.linen"), need("jax")
    jax.config.update("jax_enable_x64", True)
    parameters: dict[str, dict[str, Array]] = {}
    places = {"W": ("i", "kernel"), "U": ("h", "kernel"), "b": ("i", "bias"), "d": ("h", "bias")}
    for key, value in tensors.items():
        family, gate = key.split(".")
        side, what = places[family]
        parameters.setdefault(side + gate, {})[what] = value
    cell = linen.GRUCell(features=start[0].shape[1], dtype="float64", param_dtype="float64")
    return _steps(lambda now, h: cell.apply({"params": parameters}, h, now)[0], x, start[0])


def flax_nnx(record: Dialect, tensors: Tensors, x: Array, start: tuple[Array, ...]) -> Array:
    nnx, jax = need("flax.nnx"), need("jax")
    jax.config.update("jax_enable_x64", True)
    kinds = {"dtype": "float64", "param_dtype": "float64"}
    cell = nnx.GRUCell(x.shape[2], start[0].shape[1], rngs=nnx.Rngs(0), **kinds)
    cell.dense_i.kernel[...] = jax.numpy.asarray(tensors["W"])
    cell.dense_h.kernel[...] = jax.numpy.asarray(tensors["U"])
    cell.dense_i.bias[...] = jax.numpy.asarray(tensors["b"])
    return _steps(lambda now, h: cell(h, now)[0], x, start[0])


def haiku(record: Dialect, tensors: Tensors, x: Array, start: tuple[Array, ...]) -> Array:
    library, jax = need("haiku"), need("jax")
    jax.config.update("jax_enable_x64", True)
    step = library.without_apply_rng(
        library.transform(lambda now, h: library.GRU(start[0].shape[1])(now, h)[0])
    )
    parameters = {"gru": {"w_i": tensors["W"], "w_h": tensors["U"], "b": tensors["b"]}}
    return _steps(lambda now, h: step.apply(parameters, now, h), x, start[0])


FRAMEWORKS: dict[str, Run] = {
    "keras": keras,
    "torch": torch,
    "onnx": onnx,
    "equinox": equinox,
    "flax": flax,
    "flax_nnx": flax_nnx,
    "haiku": haiku,
}
# ONNX Runtime has float32 kernels alone; Keras' product makes float32 of float64.
IN_SINGLE = ("onnx", "keras")
# Papers and books have no code to run here, and Lasagne's needs a Python of its time.
NOT_RUN = tuple({s.framework for s in DIALECTS} - set(FRAMEWORKS))
