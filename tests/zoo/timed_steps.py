"""One step of each published cell that reads more than x, written out in NumPy from its paper."""

from __future__ import annotations

from typing import Any

import numpy as np
from plain_steps import at, s

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


TIMED = {
    "gru_d": gru_d,
    "augru": augru,
    "agru": agru,
    "time_aware_lstm": time_aware_lstm,
    "time_lstm": time_lstm,
}
