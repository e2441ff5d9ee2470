"""One step of each published cell that no package at hand has, written out in NumPy.

Written from the papers' formulas and the authors' code with other means than the cells: full
matrices in place of two products, sums in place of running averages, concatenated gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
Weights = dict[str, Array]
Step = Callable[[Weights, Array, tuple[Array, ...]], tuple[Array, tuple[Array, ...]]]


def s(v: Array) -> Array:
    return 0.5 * (1 + np.tanh(v / 2))


def at(w: Weights, gate: str, x: Array, h: Array, *, bias: bool = True) -> Array:
    """W x + U h + b of one gate, by one matrix over both."""
    both = np.concatenate([w[f"W.{gate}"], w[f"U.{gate}"]], axis=1)
    return np.concatenate([x, h], axis=1) @ both.T + (w[f"b.{gate}"] if bias else 0)


def keep(z: Array, old: Array, new: Array) -> Array:
    return new + z * (old - new)


def gru_relu(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    n = np.maximum(at(w, "n", x, s(at(w, "r", x, h)) * h), 0)
    h = keep(s(at(w, "z", x, h)), h, n)
    return h, (h,)


def gru_linear(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    r, z = (np.clip(0.2 * at(w, gate, x, h) + 0.5, 0, 1) for gate in "rz")
    h = keep(z, h, at(w, "n", x, r * h))
    return h, (h,)


def _gated(gates: Callable[[Weights, Array], tuple[Array, Array]]) -> Step:
    """A GRU that resets before and admits, with other gates."""

    def step(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
        (h,) = states
        r, z = gates(w, h)
        h = keep(z, np.tanh(at(w, "n", x, r * h)), h)
        return h, (h,)

    return step


def _one_gate(gate: Callable[[Weights, Array], Array]) -> Step:
    def both(w: Weights, h: Array) -> tuple[Array, Array]:
        f = gate(w, h)
        return f, f

    return _gated(both)


def lrn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    q, k, v = (x @ w[f"W.{gate}"].T for gate in "qkv")
    h = np.tanh(v / (1 + np.exp(-(k + h))) + h / (1 + np.exp(-(q - h))))
    return h, (h,)


def sligru(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    u = h @ np.concatenate([w["U.z"], w["U.n"]]).T
    u = (u - u.mean(1, keepdims=True)) / np.sqrt(u.var(1, keepdims=True) + 1e-5)
    a = x @ np.concatenate([w["W.z"], w["W.n"]]).T + u + np.concatenate([w["b.z"], w["b.n"]])
    z, n = np.split(a, 2, axis=1)
    h = keep(s(z), h, np.maximum(n, 0))
    return h, (h,)


def rhn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    for layer, seen in ((1, x), (2, 0 * x)):  # only the first layer sees the input
        q, t = (seen @ w[f"W.{g}"].T + h @ w[f"U.{g}{layer}"].T + w[f"b.{g}{layer}"] for g in "qt")
        h = keep(s(t), np.tanh(q), h)
    return h, (h,)


def multiplicative_rnn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    rows = []
    for one_x, one_h in zip(x, h, strict=True):
        matrix = w["U.h"] @ np.diag(w["W.m"] @ one_x) @ w["U.m"]
        rows.append(np.tanh(w["W.h"] @ one_x + matrix @ one_h + w["b.h"]))
    h = np.stack(rows)
    return h, (h,)


def mi_rnn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    q, k = x @ w["W.h"].T, h @ w["U.h"].T
    h = np.tanh((w["a.h"] * q + w["e.h"]) * k + w["e.x"] * q + w["b.h"])
    return h, (h,)


def scrn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    h, c = states
    c = keep(0.95, c, x @ w["W.s"].T)
    h = s(c @ w["U.s"].T + at(w, "h", x, h, bias=False))
    return h, (h, c)


def dreamer_gru(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    a = np.concatenate([at(w, gate, x, h, bias=False) + w[f"d.{gate}"] for gate in "rnz"], axis=1)
    a = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-3)
    gain, shift = (np.concatenate([w[f"{family}.{g}"] for g in "rnz"]) for family in "pb")
    r, n, z = np.split(a * gain + shift, 3, axis=1)
    update = s(z - 1)
    h = update * np.tanh(s(r) * n) + (1 - update) * h
    return h, (h,)


def lstm_coupled(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    h, c = states
    c = keep(s(at(w, "f", x, h)), c, np.tanh(at(w, "g", x, h)))
    h = s(at(w, "o", x, h)) * np.tanh(c)
    return h, (h, c)


def slstm(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    """Without the stabiliser: c and k as they are, e^m times what the cell keeps."""
    h, m, c, k = states
    i, f = np.exp(at(w, "i", x, h)), s(at(w, "f", x, h))
    c = f * np.exp(m) * c + i * np.tanh(at(w, "z", x, h))
    k = f * np.exp(m) * k + i
    m = np.log(np.maximum(i, f * np.exp(m)))
    h = s(at(w, "o", x, h)) * c / k
    return h, (h, m, c / np.exp(m), k / np.exp(m))


def mogrifier(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    h, c = states
    x = 2 * s(h @ w["Q.x"].T) * x
    h = 2 * s(x @ w["R.h"].T) * h
    i, f, o = (s(at(w, gate, x, h)) for gate in "ifo")
    c = f * c + i * np.tanh(at(w, "g", x, h))
    h = o * np.tanh(c)
    return h, (h, c)


def lstm_elementwise(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (c,) = states
    f, g = (x @ w[f"W.{k}"].T + w[f"p.{k}"] * c + w[f"b.{k}"] for k in "fg")
    c = keep(s(f), c, np.tanh(g))
    return s(at(w, "o", x, c)) * c, (c,)


def _diagonal(w: Weights) -> Weights:
    """Vectors as diagonal matrices."""
    return w | {f"U.{name[2:]}": np.diag(v) for name, v in w.items() if name.startswith("p.")}


def indy_gru(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,), w = states, _diagonal(w)
    h = keep(s(at(w, "z", x, h)), h, np.tanh(at(w, "n", x, s(at(w, "r", x, h)) * h)))
    return h, (h,)


def para_gru(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,), w = states, _diagonal(w)
    h = keep(s(at(w, "z", x, h)), np.tanh(at(w, "n", x, s(at(w, "r", x, h)) * h)), h)
    return h, (h,)


def indy_lstm(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h, c), w = states, _diagonal(w)
    i, f, o = (s(at(w, gate, x, h)) for gate in "ifo")
    c = f * c + i * np.tanh(at(w, "g", x, h))
    h = o * np.tanh(c)
    return h, (h, c)


def sru(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (c,), w = states, w | {"U.f": np.diag(w["p.f"]), "U.r": np.diag(w["p.r"])}
    f, r = (s(at(w, gate, x, c)) for gate in "fr")
    c = keep(f, c, x @ w["W.c"].T)
    return keep(r, c, x), (c,)


def qrnn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (c,) = states
    f, o, z = (x @ w[f"W.{k}"].T + w[f"b.{k}"] for k in "foz")
    c = keep(s(f), c, np.tanh(z))
    return s(o) * c, (c,)


def _g(v: Array) -> Array:
    return np.where(v >= 0, v + 0.5, s(v))


def min_gru(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    z, n = (x @ w[f"W.{k}"].T + w[f"b.{k}"] for k in "zn")
    h = keep(s(z), _g(n), h)
    return h, (h,)


def min_lstm(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    f, i, n = (x @ w[f"W.{k}"].T + w[f"b.{k}"] for k in "fin")
    # The gates' share is a sigmoid of a difference of softpluses, as the paper's log-space has it.
    share = s(np.logaddexp(0, -i) - np.logaddexp(0, -f))
    h = keep(share, h, _g(n))
    return h, (h,)


def hgrn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    lower = s(w["p.f"])
    f = np.logaddexp(np.log(lower), np.log1p(-lower) - np.logaddexp(0, -(x @ w["W.f"].T)))
    i = x @ w["W.i"].T
    h = np.exp(f) * h + i * s(i) * -np.expm1(f)
    return h, (h,)


def rg_lru(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    a, i = (s(x @ w[f"W.{k}"].T + w[f"b.{k}"]) for k in "ai")
    log = -8 * a * np.logaddexp(0, w["p.a"])
    h = np.exp(log) * h + np.sqrt(-np.expm1(2 * log)) * i * x
    return h, (h,)


def gilr(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    g, i = (x @ w[f"W.{k}"].T + w[f"b.{k}"] for k in "gi")
    h = keep(s(g), h, np.tanh(i))
    return h, (h,)


def plrnn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    h = h @ np.diag(w["p.h"]) + np.maximum(h, 0) @ w["U.h"].T + x @ w["W.h"].T + w["b.h"]
    return h, (h,)


def lipschitz_rnn(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    one = np.eye(h.shape[1])
    a, u = (0.25 * (m + m.T) + 0.75 * (m - m.T) - 0.001 * one for m in (w["A.h"], w["U.h"]))
    h = h + 0.03 * (h @ a.T + np.tanh(h @ u.T + x @ w["W.h"].T + w["b.h"]))
    return h, (h,)


def gru_ode(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    r, z = (s(at(w, gate, x, h)) for gate in "rz")
    n = np.tanh(at(w, "n", x, r * h))
    h = 0.9 * h + 0.1 * (z * h + (1 - z) * n)
    return h, (h,)


def cfc(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    n, m = (np.tanh(at(w, gate, x, h)) for gate in "nm")
    h = keep(s(at(w, "a", x, h) + at(w, "t", x, h)), m, n)
    return h, (h,)


def sub_lstm(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    h, c = states
    i, f, z, o = (s(at(w, gate, x, h)) for gate in "ifzo")
    c = z + c * f - i
    h = 1 / (1 + np.exp(-c)) - o
    return h, (h, c)


def lstm_nested(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    def lstm(gate: Callable[[str], Array], memory: Callable[[Array, Array], Array]) -> Array:
        return s(gate("o")) * np.tanh(memory(s(gate("f")), s(gate("i")) * np.tanh(gate("g"))))

    h, c, inner = states
    left: list[Array] = []

    def outer_memory(f: Array, new: Array) -> Array:
        both = np.concatenate([new, f * c], axis=1)

        def gate(name: str) -> Array:
            matrix = np.concatenate([w[f"Q.{name}"], w[f"R.{name}"]], axis=1)
            return both @ matrix.T + w[f"d.{name}"]

        def inner_memory(f: Array, new: Array) -> Array:
            left.append(f * inner + new)
            return left[0]

        left.append(lstm(gate, inner_memory))
        return left[1]

    h = lstm(lambda gate: at(w, gate, x, h), outer_memory)
    return h, (h, left[1], left[0])


def ltc(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    (h,) = states
    f = s(at(w, "f", x, h))
    rate = np.logaddexp(0, w["p.t"])  # 1 / tau
    h = (10 * h + f * w["p.a"]) / (10 + rate + f)
    return h, (h,)


def rwkv(w: Weights, x: Array, states: tuple[Array, ...]) -> Any:
    """By plain sums: those of the state, scaled by e^m, and the weight of this step."""
    last, m, a, n = states
    r, k, v = ((last + w[f"e.{g}"] * (x - last)) @ w[f"W.{g}"].T for g in "rkv")
    total, count = np.exp(m) * a, np.exp(m) * n
    once, first = np.exp(k), np.exp(w["p.u"] + k)
    y = s(r) * (total + first * v) / (count + first)
    decay = np.exp(-np.exp(w["p.w"]))
    total, count = decay * total + once * v, decay * count + once
    m = np.maximum(m - np.exp(w["p.w"]), k)
    return y, (x, m, total / np.exp(m), count / np.exp(m))


STEPS: dict[str, Step] = {
    "gru_relu": gru_relu,
    "gru_linear": gru_linear,
    "gru1": _gated(lambda w, h: (s(h @ w["U.r"].T + w["b.r"]), s(h @ w["U.z"].T + w["b.z"]))),
    "gru2": _gated(lambda w, h: (s(h @ w["U.r"].T), s(h @ w["U.z"].T))),
    "gru3": _gated(lambda w, h: (s(w["b.r"]), s(w["b.z"]))),
    "mgu1": _one_gate(lambda w, h: s(h @ w["U.f"].T + w["b.f"])),
    "mgu2": _one_gate(lambda w, h: s(h @ w["U.f"].T)),
    "mgu3": _one_gate(lambda w, h: s(w["b.f"])),
    "lrn": lrn,
    "sligru": sligru,
    "rhn": rhn,
    "multiplicative_rnn": multiplicative_rnn,
    "mi_rnn": mi_rnn,
    "scrn": scrn,
    "dreamer_gru": dreamer_gru,
    "lstm_coupled": lstm_coupled,
    "slstm": slstm,
    "mogrifier": mogrifier,
    "lstm_elementwise": lstm_elementwise,
    "indy_gru": indy_gru,
    "indy_lstm": indy_lstm,
    "para_gru": para_gru,
    "sru": sru,
    "qrnn": qrnn,
    "min_gru": min_gru,
    "min_lstm": min_lstm,
    "hgrn": hgrn,
    "rg_lru": rg_lru,
    "gilr": gilr,
    "plrnn": plrnn,
    "lipschitz_rnn": lipschitz_rnn,
    "gru_ode": gru_ode,
    "cfc": cfc,
    "sub_lstm": sub_lstm,
    "lstm_nested": lstm_nested,
    "ltc": ltc,
    "rwkv": rwkv,
}
