"""Other frameworks' GRUs as backends of the check kit: each framework's own layer, fed and read.

Every function has the kit's signature: x [time, batch, input], weights by PyTorch's names, h0, and
the options that the framework has. Where it has no place for a weight, the weight is left out: the
kit is to say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

Array = np.ndarray
Weights = Mapping[str, Any]


def need(name: str) -> Any:
    """The module, or a skip that names it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: make test-peers")


def layer(weights: Weights, end: str) -> dict[str, Any]:
    return {n.removesuffix(end): w for n, w in weights.items() if n.endswith(end)}


def start(x: Any, weights: Weights, h0: Any, rows: int) -> Any:
    """Zeros where there is no h0."""
    size = weights["weight_hh_l0"].shape[1]
    return np.zeros((rows, x.shape[1], size), np.float32) if h0 is None else h0


# PyTorch


def torch_module(x: Array, weights: Weights, num_layers: int, bidirectional: bool) -> Any:
    torch = need("torch")
    module = torch.nn.GRU(
        x.shape[2], weights["weight_hh_l0"].shape[1], num_layers,
        bias="bias_ih_l0" in weights, bidirectional=bidirectional,
    )  # fmt: skip
    module.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()})
    return module


def torch_run(module: Any, x: Any, h0: Any, lengths: Array | None) -> tuple[Any, Any]:
    torch = need("torch")
    if lengths is None:
        return module(x, h0)
    pack = torch.nn.utils.rnn.pack_padded_sequence
    packed, h_n = module(pack(x, torch.from_numpy(lengths), enforce_sorted=False), h0)
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, total_length=len(x))
    return output, h_n


def torch_gru(x, weights, h0=None, *, num_layers=1, bidirectional=False, lengths=None):
    torch = need("torch")
    module = torch_module(x, weights, num_layers, bidirectional)
    begin = None if h0 is None else torch.from_numpy(h0)
    with torch.no_grad():
        output, h_n = torch_run(module, torch.from_numpy(x), begin, lengths)
    return output.numpy(), h_n.numpy()


def torch_gradients(x, weights, h0, dy, dh_n, *, num_layers=1, bidirectional=False, lengths=None):
    torch = need("torch")
    module = torch_module(x, weights, num_layers, bidirectional)
    begin = torch.from_numpy(start(x, weights, h0, len(dh_n))).requires_grad_()
    leaf = torch.from_numpy(x).requires_grad_()
    output, h_n = torch_run(module, leaf, begin, lengths)
    (torch.sum(output * torch.from_numpy(dy)) + torch.sum(h_n * torch.from_numpy(dh_n))).backward()
    found = {name: p.grad.numpy() for name, p in module.named_parameters()}
    return {"x": leaf.grad.numpy(), "h0": begin.grad.numpy()} | found


# Keras


def keras_gru(after: bool) -> Callable[..., tuple[Array, Array]]:
    def gru(x, weights, h0=None, *, num_layers=1, bidirectional=False, lengths=None, mask=None):
        layers = need("keras").layers
        size = weights["weight_hh_l0"].shape[1]
        rows = start(x, weights, h0, num_layers * (2 if bidirectional else 1))
        y, finals, valid = np.swapaxes(x, 0, 1), [], mask
        if lengths is not None:
            valid = np.arange(len(x))[:, None] < lengths
        told = None if valid is None else np.ascontiguousarray(valid.T)
        for k in range(num_layers):
            bias = f"bias_ih_l{k}" in weights
            one = layers.GRU(size, return_sequences=True, return_state=True, reset_after=after,
                             use_bias=bias)  # fmt: skip
            ends = ("", "_reverse") if bidirectional else ("",)
            whole = layers.Bidirectional(one) if bidirectional else one
            whole.build(y.shape)
            tensors = [keras_tensors(layer(weights, f"_l{k}{e}"), after, bias) for e in ends]
            whole.set_weights([t for side in tensors for t in side])
            begin = [rows[len(finals) + d] for d in range(len(ends))]
            y, *states = whole(y, initial_state=begin if bidirectional else begin[0], mask=told)
            finals += [s.detach().numpy() for s in states]
        return np.swapaxes(y.detach().numpy(), 0, 1), np.stack(finals)

    return gru


def keras_tensors(own: Weights, after: bool, bias: bool) -> list[Array]:
    """z, r, h in columns; two rows of biases, or their sum."""

    def columns(stacked: Array) -> Array:
        r, z, n = np.split(stacked, 3)
        return np.concatenate([z, r, n]).T

    found = [columns(own["weight_ih"]), columns(own["weight_hh"])]
    if bias:
        both = [columns(own["bias_ih"]), columns(own["bias_hh"])]
        found.append(np.stack(both) if after else both[0] + both[1])
    return found


# ONNX Runtime and OpenVINO


def zrn(stacked: Array) -> Array:
    r, z, n = np.split(stacked, 3)
    return np.concatenate([z, r, n])


def onnx_gru(x, weights, h0=None, *, num_layers=1, bidirectional=False, lengths=None):
    helper, runtime = need("onnx.helper"), need("onnxruntime")
    ends = ("", "_reverse") if bidirectional else ("",)
    rows = start(x, weights, h0, num_layers * len(ends))
    y, finals = x, []
    for k in range(num_layers):
        own = [layer(weights, f"_l{k}{e}") for e in ends]
        feeds = {"X": y, "W": np.stack([zrn(o["weight_ih"]) for o in own])}
        feeds["R"] = np.stack([zrn(o["weight_hh"]) for o in own])
        if "bias_ih" in own[0]:
            halves = [[zrn(o[n]) for n in ("bias_ih", "bias_hh")] for o in own]
            feeds["B"] = np.stack([np.concatenate(h) for h in halves])
        if lengths is not None:
            feeds["sequence_lens"] = lengths.astype(np.int32)
        feeds["initial_h"] = rows[k * len(ends) : (k + 1) * len(ends)]
        names = ["X", "W", "R", "B", "sequence_lens", "initial_h"]
        node = helper.make_node(
            "GRU", [n if n in feeds else "" for n in names], ["Y", "Y_h"],
            hidden_size=rows.shape[2], linear_before_reset=1,
            direction="bidirectional" if bidirectional else "forward",
        )  # fmt: skip
        kind_of, info = helper.np_dtype_to_tensor_dtype, helper.make_tensor_value_info
        infos = [info(n, kind_of(a.dtype), a.shape) for n, a in feeds.items()]
        outs = [helper.make_tensor_value_info(n, 1, None) for n in ("Y", "Y_h")]
        graph = helper.make_graph([node], "one", infos, outs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        session = runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        made, last = session.run(None, feeds)
        y = np.concatenate([made[:, d] for d in range(len(ends))], axis=2)
        finals.append(last)
    return y, np.concatenate(finals)


def openvino_gru(x, weights, h0=None, *, num_layers=1, bidirectional=False, lengths=None):
    ov, op = need("openvino"), need("openvino.opset8")
    ends = ("", "_reverse") if bidirectional else ("",)
    rows = start(x, weights, h0, num_layers * len(ends))
    told = np.full(x.shape[1], len(x)) if lengths is None else lengths
    y, finals = np.ascontiguousarray(np.swapaxes(x, 0, 1)), []
    for k in range(num_layers):
        own = [layer(weights, f"_l{k}{e}") for e in ends]
        begin = np.swapaxes(rows[k * len(ends) : (k + 1) * len(ends)], 0, 1)
        node = op.gru_sequence(
            op.constant(y), op.constant(np.ascontiguousarray(begin)),
            op.constant(told.astype(np.int32)),
            op.constant(np.stack([zrn(o["weight_ih"]) for o in own])),
            op.constant(np.stack([zrn(o["weight_hh"]) for o in own])),
            op.constant(np.stack([openvino_bias(o) for o in own])),
            rows.shape[2], "bidirectional" if bidirectional else "forward",
            linear_before_reset=True,
        )  # fmt: skip
        model = ov.Model([op.result(node.output(0)), op.result(node.output(1))], [])
        exact = {"INFERENCE_PRECISION_HINT": "f32"}  # some CPUs would take bfloat16
        found = ov.compile_model(model, "CPU", exact)([])
        made, last = found[0], found[1]
        y = np.concatenate([made[:, d] for d in range(len(ends))], axis=2)
        finals.append(np.swapaxes(last, 0, 1))
    return np.swapaxes(y, 0, 1), np.concatenate(finals)


def openvino_bias(own: Weights) -> Array:
    """z and r summed, then the candidate's two."""
    size = own["weight_hh"].shape[1]
    zeros = np.zeros(3 * size, np.float32)
    b, d = (np.split(own.get(n, zeros), 3) for n in ("bias_ih", "bias_hh"))
    return np.concatenate([b[1] + d[1], b[0] + d[0], b[2], d[2]])


# JAX: Flax linen and nnx, Haiku, Equinox. One function of JAX arrays; the gradients are JAX's own.

Forward = Callable[..., tuple[Any, Any]]


def of_jax(forward: Forward) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def gru(x, weights, h0=None, **options):
        begin = start(x, weights, h0, 2 if options.get("bidirectional") else 1)
        return tuple(np.asarray(a) for a in forward(x, dict(weights), begin, **options))

    def gradients(x, weights, h0, dy, dh_n, **options):
        jax = need("jax")
        begin = start(x, weights, h0, 2 if options.get("bidirectional") else 1)
        _, back = jax.vjp(lambda *leaves: forward(*leaves, **options), x, dict(weights), begin)
        dx, dw, dh0 = back((jax.numpy.asarray(dy), jax.numpy.asarray(dh_n)))
        return {"x": dx, "h0": dh0} | dw

    gru.__signature__ = gradients.__signature__ = signature_of(forward)
    return gru, gradients


def signature_of(forward: Forward) -> Any:
    import inspect

    return inspect.signature(forward)


def linen_parameters(own: Weights) -> dict[str, Any]:
    np_ = need("jax").numpy
    size = own["weight_hh"].shape[1]
    zeros = np_.zeros(3 * size)
    b, d = (np_.split(own.get(n, zeros), 3) for n in ("bias_ih", "bias_hh"))
    w, u = (np_.split(own[n], 3) for n in ("weight_ih", "weight_hh"))
    found: dict[str, Any] = {"hn": {"kernel": u[2].T, "bias": d[2]}}
    for k, gate in enumerate("rzn"):
        found[f"i{gate}"] = {"kernel": w[k].T, "bias": b[k] + d[k] if k < 2 else b[k]}
    return found | {"hr": {"kernel": u[0].T}, "hz": {"kernel": u[1].T}}


def linen_forward(x, weights, h0, *, bidirectional=False, lengths=None):
    linen, np_ = need("flax.linen"), need("jax").numpy
    size, outputs, finals = h0.shape[2], [], []
    for d, end in enumerate(("", "_reverse") if bidirectional else ("",)):
        run = linen.RNN(linen.GRUCell(size), time_major=True, return_carry=True, reverse=d == 1,
                        keep_order=True)  # fmt: skip
        parameters = {"cell": linen_parameters(layer(weights, f"_l0{end}"))}
        carry, y = run.apply({"params": parameters}, x, initial_carry=h0[d], seq_lengths=lengths)
        outputs.append(y)
        finals.append(carry)
    return np_.concatenate(outputs, axis=2), np_.stack(finals)


def nnx_forward(x, weights, h0):
    nnx, np_ = need("flax.nnx"), need("jax").numpy
    own = layer(weights, "_l0")
    cell = nnx.GRUCell(x.shape[2], h0.shape[2], rngs=nnx.Rngs(0))
    cell.dense_i.kernel[...], cell.dense_h.kernel[...] = own["weight_ih"].T, own["weight_hh"].T
    size = h0.shape[2]
    if "bias_ih" in own:  # it has one bias: r and z summed, the candidate's outer one
        inner = np_.concatenate([own["bias_hh"][: 2 * size], np_.zeros(size)])
        cell.dense_i.bias[...] = own["bias_ih"] + inner
    carry, y = nnx.RNN(cell, time_major=True, return_carry=True)(x, initial_carry=h0[0])
    return y, carry[None]


def haiku_forward(x, weights, h0):
    haiku, np_ = need("haiku"), need("jax").numpy
    own = layer(weights, "_l0")

    def columns(stacked: Any) -> Any:
        r, z, n = np_.split(stacked, 3)
        return np_.concatenate([z, r, n]).T

    zeros = np_.zeros(3 * h0.shape[2])
    bias = columns(own.get("bias_ih", zeros) + own.get("bias_hh", zeros))
    parameters = {"gru": {"w_i": columns(own["weight_ih"]), "w_h": columns(own["weight_hh"]),
                          "b": bias}}  # fmt: skip
    run = haiku.without_apply_rng(
        haiku.transform(lambda x, h: haiku.dynamic_unroll(haiku.GRU(h0.shape[2]), x, h))
    )
    y, last = run.apply(parameters, x, h0[0])
    return y, last[None]


def equinox_forward(x, weights, h0):
    library, jax = need("equinox"), need("jax")
    np_ = jax.numpy
    own, size = layer(weights, "_l0"), h0.shape[2]
    cell = library.nn.GRUCell(x.shape[2], size, key=jax.random.PRNGKey(0))
    zeros = np_.zeros(3 * size)
    b, d = own.get("bias_ih", zeros), own.get("bias_hh", zeros)
    merged = np_.concatenate([b[: 2 * size] + d[: 2 * size], b[2 * size :]])
    values = [np_.asarray(own["weight_ih"]), np_.asarray(own["weight_hh"]), merged, d[2 * size :]]
    cell = library.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n), cell, values)

    def step(h: Any, now: Any) -> Any:
        h = jax.vmap(cell)(now, h)
        return h, h

    last, y = jax.lax.scan(step, np_.asarray(h0[0]), np_.asarray(x))
    return y, last[None]


# MLX


def mlx_gru(x, weights, h0=None):
    mx, nn = need("mlx.core"), need("mlx.nn")
    own, size = layer(weights, "_l0"), weights["weight_hh_l0"].shape[1]
    module = nn.GRU(x.shape[2], size)
    zeros = np.zeros(3 * size, np.float32)
    b, d = own.get("bias_ih", zeros), own.get("bias_hh", zeros)
    merged = np.concatenate([b[: 2 * size] + d[: 2 * size], b[2 * size :]])
    found = {"Wx": own["weight_ih"], "Wh": own["weight_hh"], "b": merged, "bhn": d[2 * size :]}
    module.update({n: mx.array(a) for n, a in found.items()})
    first = None if h0 is None else mx.array(h0[0])
    y = np.array(module(mx.array(np.ascontiguousarray(np.swapaxes(x, 0, 1))), hidden=first))
    y = np.swapaxes(y, 0, 1)
    return y, y[-1:]


@dataclass(frozen=True)
class Peer:
    """A framework's GRU, what it should be, and what the kit finds."""

    name: str
    package: str
    """What pip calls it."""
    cell: str
    make: Callable[[], tuple[Callable[..., Any], Callable[..., Any] | None]]

    @property
    def title(self) -> str:
        """With its version."""
        return f"{self.name} {version(self.package)}"


PEERS = (
    Peer("PyTorch `nn.GRU`", "torch", "gru", lambda: (torch_gru, torch_gradients)),
    Peer("Keras `GRU`", "keras", "gru", lambda: (keras_gru(True), None)),
    Peer(
        "Keras `GRU(reset_after=False)`", "keras", "gru_reset_before",
        lambda: (keras_gru(False), None),
    ),
    Peer("ONNX Runtime `GRU`", "onnxruntime", "gru", lambda: (onnx_gru, None)),
    Peer("OpenVINO `GRUSequence`", "openvino", "gru", lambda: (openvino_gru, None)),
    Peer("Flax linen `GRUCell`", "flax", "gru", lambda: of_jax(linen_forward)),
    Peer("Flax nnx `GRUCell`", "flax", "gru", lambda: of_jax(nnx_forward)),
    Peer("Haiku `GRU`", "dm-haiku", "gru_reset_before_admit", lambda: of_jax(haiku_forward)),
    Peer("Equinox `GRUCell`", "equinox", "gru", lambda: of_jax(equinox_forward)),
    Peer("MLX `nn.GRU`", "mlx", "gru", lambda: (mlx_gru, None)),
)  # fmt: skip
