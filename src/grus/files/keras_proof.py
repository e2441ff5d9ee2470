"""Keras' layers computed from a file's own configuration, beside the network that was read.

The equations stand here once more, by Keras' own words and order, so that a mistake in reading a
setting or an order of gates shows: neither the dialects' records nor their cells are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from grus.dialects import Dialect, Network
from grus.dialects.conversion import example, rounding
from grus.errors import InputError
from grus.files.keras_config import ERA
from grus.weight_file import Array, Contents

Function = Callable[[Array], Array]
GATES = {"GRU": "zrh", "LSTM": "ifco", "SimpleRNN": "h"}
FUNCTIONS: dict[str | None, Function] = {
    None: lambda v: v,
    "linear": lambda v: v,
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "relu": lambda v: np.maximum(v, 0),
    "softsign": lambda v: v / (1 + np.abs(v)),
    "elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
    "exponential": np.exp,
    "silu": lambda v: v / (1 + np.exp(-v)),
    "leaky_relu": lambda v: np.where(v > 0, v, 0.2 * v),
}


def is_stored_so(dialect: Dialect, network: Network, tensors: Mapping[str, Array]) -> bool:
    """True where each tensor has just the dialect's shape: Keras tells its layers apart by it."""
    shapes = {
        t.name: t.shape(network.hidden_size, network.input_size, dialect.columns)
        for t in dialect.tensors
    }
    return all(a.shape == shapes[name.rpartition("/")[2]] for name, a in tensors.items())


def check(contents: Contents, path: str, network: Network, tensors: Mapping[str, Array]) -> None:
    """Raise InputError unless ``network`` is what the configuration says of the layer at ``path``.

    Nothing is said of layers that the configuration does not describe.
    """
    sides = ("forward_layer", "backward_layer") if network.directions == 2 else ("",)
    every = [contents.described.get(f"{path}/{side}".rstrip("/"), {}) for side in sides]
    if not all("class_name" in one for one in every):
        return
    for units in (one.get("units", one.get("output_dim")) for one in every):
        if units not in (None, network.hidden_size):
            raise InputError(
                f"its configuration says {units} units, its weights have {network.hidden_size}"
            )
    x, start = example(network)
    with np.errstate(all="ignore"):
        mine = network.run(x, start).output
        theirs = np.concatenate(
            [
                output(one, contents.metadata[ERA], _own(tensors, side), x, [s[k] for s in start])
                for k, (side, one) in enumerate(zip(sides, every, strict=True))
            ],
            axis=-1,
        )
        off = np.abs(mine - theirs)[np.isfinite(mine) & np.isfinite(theirs)].max(initial=0)
        bound = rounding(network)
    if not off <= bound and np.isfinite(bound):
        raise InputError(
            f"its configuration computes something else than what was read, off by"
            f" {off:.2g} on random input"
        )


def _own(tensors: Mapping[str, Array], side: str) -> dict[str, Array]:
    start = f"{side}/" if side else ""
    return {n.removeprefix(start): a for n, a in tensors.items() if n.startswith(start)}


def output(
    settings: Mapping[str, Any],
    era: str,
    tensors: Mapping[str, Array],
    x: Array,
    start: Sequence[Array],
) -> Array:
    """Every output [time, batch, hidden] of one Keras layer, in order of time, in float64.

    ``settings``: its class and configuration; ``tensors`` by Keras' names; ``x`` [time, batch,
    input]; ``start``: its initial states [batch, hidden].
    """
    kind = settings["class_name"].removeprefix("CuDNN")
    cudnn = kind != settings["class_name"]
    new = cudnn or era in ("tf2", "3")
    kernel, recurrent, bias = _matrices(kind, cudnn, tensors)
    f = _function(settings.get("activation", "tanh"), era)
    usual = settings.get("inner_activation", "sigmoid" if new else "hard_sigmoid")
    g = _function(settings.get("recurrent_activation", usual), era)
    step = {"GRU": _gru, "LSTM": _lstm, "SimpleRNN": _rnn}[kind]
    after = cudnn or settings.get("reset_after", new)
    state, outputs = tuple(start), []
    for now in x[::-1] if settings.get("go_backwards") else x:
        state = step(now, state, kernel, recurrent, bias, f, g, after)
        outputs.append(state[0])
    return np.stack(outputs[::-1] if settings.get("go_backwards") else outputs)


def _function(word: str | None, era: str) -> Function:
    if word == "hard_sigmoid":
        slope = 1 / 6 if era == "3" else 0.2
        return lambda v: np.clip(slope * v + 0.5, 0, 1)
    return FUNCTIONS[word]


def _matrices(kind: str, cudnn: bool, tensors: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """Kernel, recurrent kernel and bias [2, all gates]; Keras' own ways of loading older forms."""
    gates = GATES[kind]
    wide = {name: np.asarray(a, np.float64) for name, a in tensors.items()}
    if f"W_{gates[0]}" in wide:
        kernel, recurrent, bias = (
            np.concatenate([wide[f"{w}_{g}"] for g in gates], -1) for w in "WUb"
        )
    else:
        kernel, recurrent = wide["kernel"], wide["recurrent_kernel"]
        bias = wide.get("bias", np.zeros(kernel.shape[1]))
    if cudnn:
        count = len(gates)
        kernel = np.hstack([k.T.reshape(k.shape, order="F") for k in np.hsplit(kernel, count)])
        recurrent = np.hstack([k.T for k in np.hsplit(recurrent, count)])
        bias = bias.reshape(2, -1)
    return kernel, recurrent, bias if bias.ndim == 2 else np.stack([bias, 0 * bias])


def _gru(
    x: Array, state: tuple[Array, ...], kernel: Array, recurrent: Array, bias: Array,
    f: Function, g: Function, after: bool,
) -> tuple[Array, ...]:  # fmt: skip
    (h,), units = state, state[0].shape[1]
    of_x = x @ kernel + bias[0]
    of_h = h @ recurrent + bias[1]
    z, r = (g(of_x[:, k : k + units] + of_h[:, k : k + units]) for k in (0, units))
    inner = r * of_h[:, 2 * units :] if after else (r * h) @ recurrent[:, 2 * units :]
    return (z * h + (1 - z) * f(of_x[:, 2 * units :] + inner),)


def _lstm(
    x: Array, state: tuple[Array, ...], kernel: Array, recurrent: Array, bias: Array,
    f: Function, g: Function, _: bool,
) -> tuple[Array, ...]:  # fmt: skip
    h, c = state
    i, forget, n, o = np.hsplit(x @ kernel + h @ recurrent + bias.sum(0), 4)
    c = g(forget) * c + g(i) * f(n)
    return g(o) * f(c), c


def _rnn(
    x: Array, state: tuple[Array, ...], kernel: Array, recurrent: Array, bias: Array,
    f: Function, *_: Any,
) -> tuple[Array, ...]:  # fmt: skip
    return (f(x @ kernel + state[0] @ recurrent + bias.sum(0)),)
