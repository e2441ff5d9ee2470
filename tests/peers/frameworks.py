"""How each framework runs one layer on given tensors, with its own code: one function each.

The frameworks are imported inside, by `need`; where one is not installed its test skips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from grus.dialects import Dialect
from grus.dialects.activation import Activation

Array = np.ndarray
Tensors = Mapping[str, Array]
States = tuple[Array, ...]


@dataclass(frozen=True)
class Case:
    """One layer to run."""

    dialect: Dialect
    tensors: tuple[Tensors, ...]
    """For each direction, by the dialect's own names."""
    x: Array
    """[time, batch, input], float64 numbers that float32 holds too."""
    start: tuple[States, ...]
    """For each direction the initial states, each [batch, hidden]."""
    lengths: Array | None = None
    backward: bool = False
    """One direction that runs from the last step to the first."""

    @property
    def hidden(self) -> int:
        return int(self.start[0][0].shape[1])

    @property
    def both(self) -> bool:
        return len(self.tensors) == 2


Done = tuple[Array, tuple[States, ...]]
"""The outputs [time, batch, directions * hidden]; for each direction the final states."""


def need(name: str) -> Any:
    """The module, or a skip that names it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: make test-peers")


def numpy_of(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def direction(case: Case) -> str:
    return "bidirectional" if case.both else "reverse" if case.backward else "forward"


def cell_kind(case: Case) -> str:
    return {"lstm": "LSTM", "rnn": "RNN", "rnn_relu": "RNN"}.get(case.dialect.cell_name, "GRU")


def torch(case: Case) -> Done:
    library = need("torch")
    kind = cell_kind(case)
    extra = {"nonlinearity": "relu"} if case.dialect.cell_name == "rnn_relu" else {}
    layer = getattr(library.nn, kind)(
        case.x.shape[2], case.hidden, bidirectional=case.both, dtype=library.float64, **extra
    )
    scheme, count = case.dialect.scheme, len(case.tensors)
    layer.load_state_dict(
        {
            scheme.name(name, (0, d), 1, count): library.from_numpy(array)
            for d, tensors in enumerate(case.tensors)
            for name, array in tensors.items()
        }
    )
    states = tuple(
        library.from_numpy(np.stack([one[k] for one in case.start]))
        for k in range(len(case.start[0]))
    )
    x: Any = library.from_numpy(case.x)
    if case.lengths is not None:
        pack = library.nn.utils.rnn.pack_padded_sequence
        x = pack(x, library.from_numpy(case.lengths), enforce_sorted=False)
    output, final = layer(x, states if kind == "LSTM" else states[0])
    if case.lengths is not None:
        unpack = library.nn.utils.rnn.pad_packed_sequence
        output, _ = unpack(output, total_length=len(case.x))
    finals = final if kind == "LSTM" else (final,)
    return numpy_of(output), tuple(
        tuple(numpy_of(state[d]) for state in finals) for d in range(count)
    )


def keras_activation(one: Activation) -> Any:
    """Keras' own function of that name, or one of the user's where Keras 3 has another."""
    library = need("keras")

    @library.saving.register_keras_serializable("grus")  # Bidirectional copies by configuration
    def keras_2_hard_sigmoid(v: Any) -> Any:
        return library.ops.clip(0.2 * v + 0.5, 0.0, 1.0)

    return keras_2_hard_sigmoid if one == Activation("hard_sigmoid", 0.2) else one.name


def keras(case: Case) -> Done:
    layers, activations = need("keras").layers, case.dialect.activations
    kind = {"RNN": "SimpleRNN"}.get(cell_kind(case), cell_kind(case))
    chosen: dict[str, Any] = {"activation": keras_activation(activations.candidate)}
    if kind == "SimpleRNN" and case.dialect.cell_name == "rnn_relu":
        chosen["activation"] = "relu"
    if kind != "SimpleRNN":
        chosen["recurrent_activation"] = keras_activation(activations.gates)
    if kind == "GRU":
        chosen["reset_after"] = case.dialect.cell_name == "gru"
    batch_first = np.swapaxes(case.x, 0, 1)
    layer = getattr(layers, kind)(
        case.hidden,
        return_sequences=True,
        return_state=True,
        dtype="float64",
        go_backwards=case.backward,
        **chosen,
    )
    layer = layers.Bidirectional(layer) if case.both else layer
    layer.build(batch_first.shape)
    layer.set_weights([a for tensors in case.tensors for a in tensors.values()])
    start = [state for one in case.start for state in one]
    mask = None
    if case.lengths is not None:
        mask = np.arange(len(case.x))[None] < case.lengths[:, None]
    output, *finals = layer(batch_first, initial_state=start, mask=mask)
    states, count = list(map(numpy_of, finals)), len(case.start[0])
    cut = tuple(tuple(states[k : k + count]) for k in range(0, len(states), count))
    return np.swapaxes(numpy_of(output), 0, 1), cut


def onnx_model(case: Case) -> tuple[Any, dict[str, Array]]:
    """The model of one node, and what is fed to it."""
    helper, proto = need("onnx.helper"), need("onnx").TensorProto
    kind, record = cell_kind(case), case.dialect
    attributes: dict[str, Any] = {
        "hidden_size": case.hidden,
        "direction": direction(case),
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = int(record.cell_name == "gru")
    attributes |= onnx_activations(case)
    feeds = {"X": case.x} | {
        name: np.stack([tensors[name] for tensors in case.tensors]) for name in ("W", "R", "B")
    }
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    if case.lengths is not None:
        feeds["L"] = case.lengths.astype(np.int32)
    states = "HC" if kind == "LSTM" else "H"
    feeds |= {
        name: np.stack([one[k] for one in case.start]).astype(np.float32)
        for k, name in enumerate(states)
    }
    inputs = ["X", "W", "R", "B", "L" if case.lengths is not None else "", *states]
    outputs = ["Y", *(f"Y{name}" for name in states)]
    node = helper.make_node(kind, inputs, outputs, **attributes)
    infos = [
        helper.make_tensor_value_info(n, proto.INT32 if n == "L" else proto.FLOAT, v.shape)
        for n, v in feeds.items()
    ]
    outs = [helper.make_tensor_value_info(name, proto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "one", infos, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return model, feeds


def onnx_activations(case: Case) -> dict[str, Any]:
    """The node's activations, each with its alpha and beta, and its clip."""
    record = case.dialect
    chosen, kind = record.activations, cell_kind(case)
    if record.cell_name == "rnn_relu":
        return {"activations": ["Relu"] * len(case.tensors)}
    used = {
        "GRU": [chosen.gates, chosen.candidate],
        "LSTM": [chosen.gates, chosen.candidate, chosen.output],
        "RNN": [chosen.candidate],
    }[kind] * len(case.tensors)
    words = {known.name: word for word, known in record.words.items()}
    found: dict[str, Any] = {"activations": [words[one.name] for one in used]}
    # The node's alphas are a list of those activations that take one, in order.
    for key in ("alpha", "beta"):
        numbers = [n for one in used if (n := getattr(one, key)) is not None]
        found |= {f"activation_{key}": numbers} if numbers else {}
    return found | ({"clip": chosen.clip} if chosen.clip else {})


def onnx_done(y: Array, finals: list[Array]) -> Done:
    output = np.moveaxis(y, 1, 2).reshape(*y.shape[0:1], y.shape[2], -1)
    return output, tuple(tuple(state[d] for state in finals) for d in range(y.shape[1]))


def onnx(case: Case) -> Done:
    model, feeds = onnx_model(case)
    runtime = need("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, *finals = session.run(None, feeds)
    return onnx_done(y, finals)


def onnx_reference(case: Case) -> Done:
    """The evaluator of the onnx package itself; it knows the usual activations alone."""
    model, feeds = onnx_model(case)
    y, *finals = need("onnx.reference").ReferenceEvaluator(model).run(None, feeds)
    return onnx_done(y, finals)


def openvino(case: Case) -> Done:
    library = need("openvino")
    ops = need("openvino.opset13")
    kind, record = cell_kind(case), case.dialect
    steps, batch, _ = case.x.shape
    lengths = np.full(batch, steps) if case.lengths is None else case.lengths
    feeds = [np.swapaxes(case.x, 0, 1).astype(np.float32)]
    for k in range(len(case.start[0])):
        feeds.append(np.stack([one[k] for one in case.start], axis=1).astype(np.float32))
    parameters = [ops.parameter(list(array.shape), np.float32) for array in feeds]
    stacked = [np.stack([t[n] for t in case.tensors]).astype(np.float32) for n in "WRB"]
    chosen = record.activations
    names = [chosen.candidate] if kind == "RNN" else [chosen.gates, chosen.candidate]
    names += [chosen.output] if kind == "LSTM" else []
    extra: dict[str, Any] = {"activations": [one.name for one in names]}
    extra |= {"clip": chosen.clip} if chosen.clip else {}
    extra |= {"linear_before_reset": record.cell_name == "gru"} if kind == "GRU" else {}
    make = {"GRU": ops.gru_sequence, "LSTM": ops.lstm_sequence, "RNN": ops.rnn_sequence}[kind]
    node = make(
        *parameters,
        ops.constant(lengths.astype(np.int32)),
        *map(ops.constant, stacked),
        case.hidden,
        direction(case),
        **extra,
    )
    model = library.Model([node.output(k) for k in range(len(feeds))], parameters, "one")
    compiled = library.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    y, *finals = (np.asarray(array) for array in compiled(feeds).values())
    output = y.transpose(2, 0, 1, 3).reshape(steps, batch, -1)
    return output, tuple(tuple(state[:, d] for state in finals) for d in range(len(case.tensors)))


def in_double() -> Any:
    jax = need("jax")
    jax.config.update("jax_enable_x64", True)
    return jax


def nested(tensors: Tensors, separator: str) -> dict[str, Any]:
    """ "ir/kernel" as a dictionary in a dictionary."""
    found: dict[str, Any] = {}
    for name, array in tensors.items():
        *path, last = name.split(separator)
        inner = found
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = array
    return found


def carries(case: Case) -> Any:
    """Flax keeps an LSTM's states as (c, h)."""
    made = [one[::-1] if len(one) > 1 else one[0] for one in case.start]
    return tuple(made) if case.both else made[0]


def flax_done(case: Case, carry: Any, y: Any) -> Done:
    each = carry if case.both else (carry,)
    finals = tuple(
        tuple(map(np.asarray, one[::-1])) if isinstance(one, tuple) else (np.asarray(one),)
        for one in each
    )
    return np.asarray(y), finals


def flax(case: Case) -> Done:
    in_double()
    linen = need("flax.linen")
    kind = {"GRU": linen.GRUCell, "LSTM": linen.OptimizedLSTMCell, "RNN": linen.SimpleCell}

    def layer() -> Any:
        made = kind[cell_kind(case)]
        return linen.RNN(made(features=case.hidden, dtype="float64", param_dtype="float64"))

    trees = [nested(tensors, "/") for tensors in case.tensors]
    if case.both:
        module = linen.Bidirectional(layer(), layer())
        sides = ("forward_rnn", "backward_rnn")
        parameters = {side: {"cell": tree} for side, tree in zip(sides, trees, strict=True)}
    else:
        module, parameters = layer(), {"cell": trees[0]}
    carry, y = module.apply(
        {"params": parameters},
        case.x,
        initial_carry=carries(case),
        seq_lengths=case.lengths,
        return_carry=True,
        time_major=True,
        **({} if case.both else {"reverse": case.backward}),
    )
    return flax_done(case, carry, y)


def flax_nnx(case: Case) -> Done:
    jax, nnx = in_double(), need("flax.nnx")
    kind = {"GRU": nnx.GRUCell, "LSTM": nnx.OptimizedLSTMCell, "RNN": nnx.SimpleCell}
    layers = []
    for tensors in case.tensors:
        types = {"dtype": "float64", "param_dtype": "float64"}
        cell = kind[cell_kind(case)](case.x.shape[2], case.hidden, rngs=nnx.Rngs(0), **types)
        for name, array in tensors.items():
            dense, what = name.split(".")
            getattr(getattr(cell, dense), what)[...] = jax.numpy.asarray(array)
        layers.append(nnx.RNN(cell))
    module = nnx.Bidirectional(*layers) if case.both else layers[0]
    carry, y = module(
        jax.numpy.asarray(case.x),
        initial_carry=jax.tree.map(jax.numpy.asarray, carries(case)),
        seq_lengths=case.lengths,
        return_carry=True,
        time_major=True,
        **({} if case.both else {"reverse": case.backward}),
    )
    return flax_done(case, carry, y)


def stepped(step: Callable[[Any, Any], Any], case: Case) -> Done:
    """A cell called step by step."""
    state, outputs = case.start[0][0], []
    for now in case.x:
        state = step(now, state)
        outputs.append(np.asarray(state))
    return np.stack(outputs), ((outputs[-1],),)


def equinox(case: Case) -> Done:
    jax, library = in_double(), need("equinox")
    cell = library.nn.GRUCell(case.x.shape[2], case.hidden, key=jax.random.PRNGKey(0))
    values = [jax.numpy.asarray(array) for array in case.tensors[0].values()]
    cell = library.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n), cell, values)
    return stepped(jax.vmap(cell), case)


def haiku(case: Case) -> Done:
    in_double()
    library = need("haiku")
    step = library.without_apply_rng(
        library.transform(lambda now, h: library.GRU(case.hidden)(now, h)[0])
    )
    return stepped(lambda now, h: step.apply({"gru": case.tensors[0]}, now, h), case)


def mlx(case: Case) -> Done:
    core, nn = need("mlx.core"), need("mlx.nn")
    layer = nn.GRU(case.x.shape[2], case.hidden)
    layer.update({name: core.array(a.astype(np.float32)) for name, a in case.tensors[0].items()})
    batch_first = core.array(np.swapaxes(case.x, 0, 1).astype(np.float32))
    y = np.array(layer(batch_first, core.array(case.start[0][0].astype(np.float32))))
    return np.swapaxes(y, 0, 1), ((y[:, -1],),)


FRAMEWORKS: dict[str, Callable[[Case], Done]] = {
    "keras": keras,
    "keras_2": keras,
    "torch": torch,
    "onnx": onnx,
    "openvino": openvino,
    "flax": flax,
    "flax_nnx": flax_nnx,
    "equinox": equinox,
    "haiku": haiku,
    "mlx": mlx,
}
BOTH = ("keras", "keras_2", "torch", "onnx", "openvino", "flax", "flax_nnx")
"""Those with a layer of two directions; the others have a cell, or one direction."""
IN_SINGLE = ("onnx", "openvino", "mlx", "keras", "keras_2")
"""Their kernels compute in float32; Keras' product on PyTorch makes float32 of float64."""
