"""A GRU written for itself, in NumPy loops, with the mistakes that people make behind switches.

It shares nothing with the package: whatever the kit says of it, it says by the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def gates(own: dict[str, Array], wrong: str) -> tuple[list[Array], ...]:
    """(W, U, b, d), each r, z, n."""
    w, u = np.split(own["weight_ih"], 3), np.split(own["weight_hh"], 3)
    zeros = np.zeros(own["weight_hh"].shape[0], w[0].dtype)
    b, d = (np.split(own.get(name, zeros), 3) for name in ("bias_ih", "bias_hh"))
    if wrong == "gates read in the order z, r, n":
        for one in (w, u, b, d):
            one[0], one[1] = one[1], one[0]
    if wrong == "inner bias ignored":
        d[2] = 0 * d[2]
    if wrong == "recurrent biases ignored":
        d = [0 * one for one in d]
    if wrong == "each block of U transposed (U.T @ h for U @ h)":
        u = [one.T for one in u]
    return w, u, b, d


def step(weights: tuple[list[Array], ...], x: Array, h: Array, wrong: str, late: Array) -> Any:
    """The next state, and the reset gate."""
    (wr, wz, wn), (ur, uz, un), (br, bz, bn), (dr, dz, dn) = weights
    r = sigmoid(x @ wr.T + br + h @ ur.T + dr)
    z = sigmoid(x @ wz.T + bz + h @ uz.T + dz)
    used = late if wrong.startswith("reset applied one step late") else r
    if wrong == "the reset before the product":
        n = np.tanh(x @ wn.T + bn + (used * h) @ un.T + dn)
    elif wrong == "inner bias added outside the reset":
        n = np.tanh(x @ wn.T + bn + used * (h @ un.T) + dn)
    else:
        n = np.tanh(x @ wn.T + bn + used * (h @ un.T + dn))
    if wrong.startswith("hard_sigmoid"):
        hard = [np.clip(0.2 * a + 0.5, 0, 1) for a in
                (x @ wr.T + br + h @ ur.T + dr, x @ wz.T + bz + h @ uz.T + dz)]  # fmt: skip
        r, z = hard
        n = np.tanh(x @ wn.T + bn + r * (h @ un.T + dn))
    if wrong.startswith("z the other way round"):
        return (1 - z) * h + z * n, r
    return z * h + (1 - z) * n, r


def direction(
    weights: Any, x: Array, h: Array, options: dict[str, Any], flip: bool, wrong: str
) -> tuple[Array, Array]:
    steps, batch = x.shape[:2]
    late = np.zeros_like(h)
    output = np.zeros((steps, batch, h.shape[1]), x.dtype)
    valid = np.ones((steps, batch), bool)
    if "lengths" in options:
        valid = np.arange(steps)[:, None] < options["lengths"]
    if "mask" in options:
        valid = options["mask"]
    every = flip and wrong == "reverse aligned to padding"
    for t in reversed(range(steps)) if flip else range(steps):
        before = h
        if "resets" in options:
            late_by = 1 if wrong == "resets one step late" else 0
            now = options["resets"][t - late_by] if t >= late_by else np.zeros(batch)
            fresh = np.where(np.asarray(now, bool)[:, None], 0, h)
        else:
            fresh = h
        if wrong == "state not carried from step to step" and t:
            fresh = np.zeros_like(h)
        inside = np.where(valid[t][:, None] | every, x[t], 0)
        new, late_now = step(weights, inside, fresh, wrong, late)
        if wrong == "the reset misses z * h" and "resets" in options:
            new = missed(weights, inside, fresh, h)
        if "zoneout" in options:
            kept = options["zoneout"][t]
            new = kept * fresh + (1 - kept) * new
        counts = valid[t][:, None] | every
        h = np.where(counts, new, before)
        late = np.where(counts, late_now, late)
        output[t] = np.where(valid[t][:, None], h, 0)
    return output, h


def missed(weights: Any, x: Array, fresh: Array, h: Array) -> Array:
    """The products see the new episode, z * h does not."""
    (_, wz, _), (_, uz, _), (_, bz, _), (_, dz, _) = weights
    z = sigmoid(x @ wz.T + bz + fresh @ uz.T + dz)
    new, _ = step(weights, x, fresh, "", fresh)
    return new + z * (h - fresh)


def make(wrong: str = "") -> Callable[..., tuple[Array, Array]]:
    """The function, with one mistake."""

    def gru(x, weights, h0=None, *, num_layers=1, bidirectional=False, **options):
        unknown = set(options) - {"lengths", "resets", "mask", "zoneout"}
        assert not unknown
        ends = ("", "_reverse") if bidirectional else ("",)
        hidden = weights["weight_hh_l0"].shape[1]
        if h0 is None or wrong == "h0 ignored":
            h0 = np.zeros((num_layers * len(ends), x.shape[1], hidden), x.dtype)
        finals = []
        for k in range(num_layers):
            outputs = []
            for d, end in enumerate(ends):
                tail = f"_l{k}{end}"
                own = {n.removesuffix(tail): w for n, w in weights.items() if n.endswith(tail)}
                y, h = direction(gates(own, wrong), x, h0[len(finals)], options, d == 1, wrong)
                outputs.append(y)
                finals.append(h)
            x = np.concatenate(outputs, axis=2)
        h_n = np.stack(finals)
        if wrong == "the backward final state read at the last step" and bidirectional:
            h_n[-1] = x[-1, :, hidden:]
        if wrong == "a row of length 0 ends with zeros" and "lengths" in options:
            h_n[:, options["lengths"] == 0] = 0
        return x, h_n

    return gru


MISTAKES = (
    "gates read in the order z, r, n",
    "inner bias ignored",
    "recurrent biases ignored",
    "inner bias added outside the reset",
    "each block of U transposed (U.T @ h for U @ h)",
    "the reset before the product",
    "z the other way round: (1 - z) * h + z * n",
    "hard_sigmoid(0.2, 0.5) for sigmoid in every gate",
    "reset applied one step late",
    "h0 ignored",
    "state not carried from step to step",
    "reverse aligned to padding",
    "the backward final state read at the last step",
    "a row of length 0 ends with zeros",
    "resets one step late",
    "the reset misses z * h",
)
