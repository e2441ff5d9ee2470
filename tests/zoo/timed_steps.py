"""One step of each published cell that reads more than x, written out in NumPy from its paper."""

from __future__ import annotations

from typing import Any

import numpy as np
from plain_steps import at, keep, s

Array = Any
Weights = dict[str, Array]
States = tuple[Array, ...]
Further = dict[str, Array]


def gru_d(w: Weights, x: Array, states: States, f: Further) -> Any:
    h, last = states
    seen = f["mask"] > 0
    gamma_h = np.minimum(1, np.exp(-(f["delta"] @ w["V.h"].T + w["d.h"])))
    gamma_x = np.minimum(1, np.exp(-(w["p.x"] * f["delta"] + w["p.b"])))
    x_hat = np.where(seen, x, w["m.x"] + gamma_x * (last - w["m.x"]))
    h = gamma_h * h
    masked = {gate: f["mask"] @ w[f"Q.{gate}"].T for gate in "rzn"}
    r, z = (s(at(w, gate, x_hat, h) + masked[gate]) for gate in "rz")
    n = np.tanh(at(w, "n", x_hat, r * h) + masked["n"])
    h = h + z * (n - h)
    return h, (h, np.where(seen, x, last))


def attended(w: Weights, x: Array, h: Array, u: Array) -> Any:
    n = np.tanh(at(w, "n", x, s(at(w, "r", x, h)) * h))
    h = h + u * (n - h)
    return h, (h,)


def augru(w: Weights, x: Array, states: States, f: Further) -> Any:
    return attended(w, x, states[0], f["attention"] * s(at(w, "u", x, states[0])))


def agru(w: Weights, x: Array, states: States, f: Further) -> Any:
    return attended(w, x, states[0], f["attention"])


def time_aware_lstm(w: Weights, x: Array, states: States, f: Further) -> Any:
    h, c = states
    short = np.tanh(c @ w["V.d"].T + w["d.d"])
    c = (c - short) + short * (1 / np.log(np.e + f["delta"]))
    c = s(at(w, "f", x, h)) * c + s(at(w, "i", x, h)) * np.tanh(at(w, "g", x, h))
    h = s(at(w, "o", x, h)) * np.tanh(c)
    return h, (h, c)


def time_lstm(w: Weights, x: Array, states: States, f: Further) -> Any:
    h, c = states
    t = s(x @ w["W.t"].T + s(f["delta"] * w["m.t"]) + w["b.t"])
    i, forget = (s(at(w, gate, x, h) + w[f"p.{gate}"] * c) for gate in "if")
    c = forget * c + i * t * np.tanh(at(w, "g", x, h))
    h = s(at(w, "o", x, h) + f["delta"] * w["m.o"] + w["p.o"] * c) * np.tanh(c)
    return h, (h, c)


def dreamer_block_gru(w: Weights, x: Array, states: States, f: Further) -> Any:
    """Block by block, each with one matrix over its part of the state and what all blocks read."""
    (h,) = states

    def act(v: Array, gain: Array) -> Array:
        v = gain * v / np.sqrt(np.square(v).mean(axis=1, keepdims=True) + 1e-4)
        return v * s(v)

    read = zip("hxa", (h, x, f["action"]), "QWA", strict=True)
    embedded = [act(v @ w[f"{family}.{k}"].T + w[f"e.{k}"], w[f"s.{k}"]) for k, v, family in read]
    every = np.concatenate([w[f"V.{k}"] for k in "hxa"], axis=1)
    own, dense = np.split(w["U.u"], 8), np.split(every, 8)
    u = np.concatenate(
        [
            np.concatenate([part, *embedded], axis=1) @ np.concatenate(both, axis=1).T
            for part, *both in zip(np.split(h, 8, axis=1), own, dense, strict=True)
        ],
        axis=1,
    )
    v = np.split(act(u + w["b.u"], w["p.u"]), 8, axis=1)

    def gate(k: str) -> Array:
        blocks = zip(v, np.split(w[f"U.{k}"], 8), strict=True)
        return np.concatenate([part @ own.T for part, own in blocks], axis=1) + w[f"b.{k}"]

    h = keep(s(1 - gate("z")), h, np.tanh(s(gate("r")) * gate("n")))
    return h, (h,)


TIMED = {
    "dreamer_block_gru": dreamer_block_gru,
    "gru_d": gru_d,
    "augru": augru,
    "agru": agru,
    "time_aware_lstm": time_aware_lstm,
    "time_lstm": time_lstm,
}
