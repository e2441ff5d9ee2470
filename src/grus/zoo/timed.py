"""Cells that read more than x at each step: times between steps, what is missing, an attention."""

from __future__ import annotations

from grus.equations import (
    Cell,
    Expr,
    Family,
    State,
    U,
    V,
    W,
    b,
    blocks,
    c,
    d,
    exp,
    h,
    log,
    mean,
    number,
    p,
    relu,
    sigmoid,
    sqrt,
    step,
    tanh,
    x,
)
from grus.zoo.record import published

A, Q = Family("A"), Family("Q")
e, m, s = Family("e"), Family("m"), Family("s")
last = State("last")
DIEN = "Zhou et al.: Deep interest evolution network for click-through rate prediction (AAAI 2019)"
ZHU = "Zhu et al.: What to do next: modeling user behaviors by Time-LSTM (IJCAI 2017)"
AUTHORS = "recalled from the paper and the authors' code"


@published(
    2018,
    "Che et al.: Recurrent neural networks for multivariate time series with missing values"
    " (Scientific Reports 8)",
    AUTHORS,
)
class GruD(Cell):
    """Missing inputs (step.mask 0) decay from the last one seen to a mean, and the state decays,
    with the time since (step.delta)."""

    kept = exp(-relu(V.h @ step.delta + d.h)) * h
    last_next = step.mask * x + (1 - step.mask) * last
    decay = exp(-relu(p.x * step.delta + p.b))
    filled = step.mask * x + (1 - step.mask) * (decay * last + (1 - decay) * m.x)
    r = sigmoid(W.r @ filled + U.r @ kept + Q.r @ step.mask + b.r)
    z = sigmoid(W.z @ filled + U.z @ kept + Q.z @ step.mask + b.z)
    n = tanh(W.n @ filled + U.n @ (r * kept) + Q.n @ step.mask + b.n)
    h_next = (1 - z) * kept + z * n


@published(2019, DIEN, AUTHORS)
class Augru(Cell):
    """A GRU whose update gate is scaled by an attention to the step (number.attention)."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    u = number.attention * sigmoid(W.u @ x + U.u @ h + b.u)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = (1 - u) * h + u * n


@published(2019, DIEN, AUTHORS)
class Agru(Cell):
    """A GRU whose update gate is an attention to the step (number.attention)."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = (1 - number.attention) * h + number.attention * n


@published(
    2017,
    "Baytas et al.: Patient subtyping via time-aware LSTM networks (KDD)",
    AUTHORS,
)
class TimeAwareLstm(Cell):
    """An LSTM whose short-term memory is discounted by the time since the last step
    (number.delta)."""

    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    g = tanh(W.g @ x + U.g @ h + b.g)
    short = tanh(V.d @ c + d.d)
    c_next = f * (c - short + short / log(2.718281828459045 + number.delta)) + i * g
    h_next = o * tanh(c_next)


@published(2017, ZHU, AUTHORS)
class TimeLstm(Cell):
    """An LSTM with a gate for the time to the next step (number.delta); the first of three."""

    i = sigmoid(W.i @ x + U.i @ h + p.i * c + b.i)
    f = sigmoid(W.f @ x + U.f @ h + p.f * c + b.f)
    t = sigmoid(W.t @ x + sigmoid(m.t * number.delta) + b.t)
    c_next = f * c + i * t * tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + m.o * number.delta + U.o @ h + p.o * c_next + b.o)
    h_next = o * tanh(c_next)


def silu(v: Expr) -> Expr:
    """v sigmoid(v)."""
    return v * sigmoid(v)


def normed(v: Expr, gain: Expr) -> Expr:
    """v over its root mean square, with a gain."""
    return gain * v / sqrt(mean(v * v) + 1e-4)


@published(
    2023,
    "Hafner, Pasukonis, Ba, Lillicrap: Mastering diverse domains through world models (Nature"
    " 2025, arXiv 2301.04104)",
    "danijar/dreamerv3, dreamerv3/rssm.py: _core, with the silu and the rms norm of its"
    " configuration; it also divides actions by their size where that is above 1",
    {"s": 1.0, "p": 1.0, "e": 0.0, "b": 0.0},
)
class DreamerBlockGru(Cell):
    """Eight blocks, each of which reads its own part of the state and, embedded, all of the state,
    the sample x and the action (step.action)."""

    ih = Q.h @ h + e.h
    ix = W.x @ x + e.x
    ia = A.a @ step.action + e.a
    nh = normed(ih, s.h)
    nx = normed(ix, s.x)
    na = normed(ia, s.a)
    u = U.u @ blocks(h, 8) + V.h @ silu(nh) + V.x @ silu(nx) + V.a @ silu(na) + b.u
    v = silu(normed(u, p.u))
    r = sigmoid(U.r @ blocks(v, 8) + b.r)
    n = tanh(r * (U.n @ blocks(v, 8) + b.n))
    z = sigmoid(U.z @ blocks(v, 8) + b.z - 1)
    h_next = z * n + (1 - z) * h
