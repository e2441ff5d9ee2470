"""Gated units: the gated recurrent unit with other gates, fewer of them, or other candidates."""

from __future__ import annotations

from grus.equations import (
    Cell,
    U,
    V,
    W,
    b,
    d,
    h,
    hard_sigmoid,
    mean,
    p,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    x,
)
from grus.zoo.record import published

TORCHRECURRENT = "torchrecurrent 0.2.5"


@published(
    2018,
    "Valin, in WebRTC's recurrent voice activity detector (rnn_vad)",
    "WebRTC, modules/audio_processing/agc2/rnn_vad/rnn_gru.cc",
)
class GruRelu(Cell):
    """A GRU with a rectified candidate, reset before the product."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = relu(W.n @ x + U.n @ (r * h) + b.n)
    h_next = z * h + (1 - z) * n


@published(
    2018,
    "Mycroft AI, Precise: a wake word listener",
    "Mycroft Precise 0.3, precise/model.py: Keras 2's GRU with activation='linear'",
)
class GruLinear(Cell):
    """A GRU whose candidate has no nonlinearity; its gates are Keras 2's hard sigmoids."""

    z = hard_sigmoid(W.z @ x + U.z @ h + b.z)
    r = hard_sigmoid(W.r @ x + U.r @ h + b.r)
    n = W.n @ x + U.n @ (r * h) + b.n
    h_next = z * h + (1 - z) * n


DEY = "Dey, Salem: Gate-variants of gated recurrent unit (GRU) neural networks (arXiv 1701.05923)"


@published(2017, DEY, "recalled from the paper")
class Gru1(Cell):
    """GRU1: the gates see the state and a bias, not the input."""

    z = sigmoid(U.z @ h + b.z)
    r = sigmoid(U.r @ h + b.r)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = (1 - z) * h + z * n


@published(2017, DEY, "recalled from the paper")
class Gru2(Cell):
    """GRU2: the gates see the state alone."""

    z = sigmoid(U.z @ h)
    r = sigmoid(U.r @ h)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = (1 - z) * h + z * n


@published(2017, DEY, "recalled from the paper")
class Gru3(Cell):
    """GRU3: the gates are learned constants."""

    z = sigmoid(b.z)
    r = sigmoid(b.r)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = (1 - z) * h + z * n


MUT = (
    "Jozefowicz, Zaremba, Sutskever: An empirical exploration of recurrent network architectures"
    " (ICML 2015)"
)


@published(2015, MUT, f"{TORCHRECURRENT}, mut_cell.py; the paper has tanh(x), x as long as h")
class Mut1(Cell):
    """MUT1, found by evolution: the update gate sees the input alone."""

    z = sigmoid(W.z @ x + b.z)
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    n = tanh(U.n @ (r * h) + tanh(W.n @ x + b.n) + d.n)
    h_next = n * z + h * (1 - z)


@published(2015, MUT, f"{TORCHRECURRENT}, mut_cell.py; the paper's r adds x itself, as long as h")
class Mut2(Cell):
    """MUT2, found by evolution: a GRU with biases of its own in each gate, z admits."""

    z = sigmoid(W.z @ x + U.z @ h + b.z)
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = n * z + h * (1 - z)


@published(2015, MUT, f"{TORCHRECURRENT}, mut_cell.py")
class Mut3(Cell):
    """MUT3, found by evolution: the update gate sees the squashed state."""

    z = sigmoid(W.z @ x + U.z @ tanh(h) + b.z)
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = n * z + h * (1 - z)


@published(
    2016,
    "Zhou, Wu, Zhang, Zhou: Minimal gated unit for recurrent neural networks (arXiv 1603.09420)",
    f"{TORCHRECURRENT}, mgu_cell.py",
)
class Mgu(Cell):
    """The minimal gated unit: one gate resets and updates."""

    f = sigmoid(W.f @ x + U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n


HECK = (
    "Heck, Salem: Simplified minimal gated unit variations for recurrent neural networks"
    " (arXiv 1701.03452)"
)


@published(2017, HECK, "recalled from the paper")
class Mgu1(Cell):
    """MGU1: the gate sees the state and a bias."""

    f = sigmoid(U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n


@published(2017, HECK, "recalled from the paper")
class Mgu2(Cell):
    """MGU2: the gate sees the state alone."""

    f = sigmoid(U.f @ h)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n


@published(2017, HECK, "recalled from the paper")
class Mgu3(Cell):
    """MGU3: the gate is a learned constant."""

    f = sigmoid(b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n


GAO = "Gao, Glowacka: Deep gate recurrent neural network (ACML 2016, arXiv 1604.02910)"


@published(2016, GAO, f"{TORCHRECURRENT}, sgu_cell.py")
class Sgu(Cell):
    """The simple gated unit: the state is gated by itself and the input, multiplied."""

    g = tanh(U.g @ ((W.g @ x + b.g) * h) + d.g)
    z = hard_sigmoid(W.z @ x + U.z @ h + b.z, 1 / 6, 0.5)
    h_next = (1 - z) * h + z * softplus(g * h)


@published(2016, GAO, f"{TORCHRECURRENT}, sgu_cell.py")
class Dsgu(Cell):
    """The deep simple gated unit: one more product on the way out."""

    g = tanh(U.g @ ((W.g @ x + b.g) * h) + d.g)
    z = hard_sigmoid(W.z @ x + U.z @ h + b.z, 1 / 6, 0.5)
    h_next = (1 - z) * h + z * sigmoid(V.o @ (g * h))


@published(
    2024,
    "Light recurrent unit: towards an interpretable recurrent neural network for modelling"
    " long-range dependency (Electronics 13(16), 3204)",
    f"{TORCHRECURRENT}, lightru_cell.py",
)
class LightRu(Cell):
    """A GRU whose candidate sees the input alone."""

    n = tanh(W.n @ x + b.n)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    h_next = (1 - f) * h + f * n


@published(
    2018,
    "Ravanelli, Brakel, Omologo, Bengio: Light gated recurrent units for speech recognition"
    " (arXiv 1803.10225)",
    f"{TORCHRECURRENT}, ligru_cell.py; the paper normalises W @ x over the batch",
)
class Ligru(Cell):
    """No reset gate, a rectified candidate."""

    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = relu(W.n @ x + U.n @ h + b.n)
    h_next = z * h + (1 - z) * n


@published(
    2023,
    "Moumen, Parcollet: Stabilising and accelerating light gated recurrent units (ICASSP 2023,"
    " arXiv 2302.10144)",
    "SpeechBrain 1.1.2, nnet/RNN.py: SLiGRU_Layer",
)
class Sligru(Cell):
    """A light GRU whose recurrent products are normalised together over the layer."""

    uz = U.z @ h
    un = U.n @ h
    mu = (mean(uz) + mean(un)) / 2
    sd = sqrt((mean((uz - mu) * (uz - mu)) + mean((un - mu) * (un - mu))) / 2 + 1e-5)
    z = sigmoid(W.z @ x + (uz - mu) / sd + b.z)
    n = relu(W.n @ x + (un - mu) / sd + b.n)
    h_next = z * h + (1 - z) * n


MIRU = "Minion recurrent unit (Neurocomputing 2026, doi 10.1016/j.neucom.2026.132847)"


@published(2026, MIRU, f"{TORCHRECURRENT}, miru_cell.py")
class Miru1(Cell):
    """A GRU whose update gate is the constant 0.5."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = 0.5 * h + 0.5 * n


@published(2026, MIRU, f"{TORCHRECURRENT}, miru_cell.py")
class Miru2(Cell):
    """A GRU whose reset and update gates are the constant 0.5."""

    n = tanh(W.n @ x + U.n @ (0.5 * h) + b.n)
    h_next = 0.5 * h + 0.5 * n


@published(
    2020,
    "Hafner, Lillicrap, Norouzi, Ba: Mastering Atari with discrete world models (ICLR 2021,"
    " arXiv 2010.02193)",
    "DreamerV2, common/nets.py: GRUCell with norm and update_bias -1",
)
class DreamerGru(Cell):
    """All three products normalised together, the reset inside the candidate, updates rare."""

    ar = W.r @ x + U.r @ h + d.r
    an = W.n @ x + U.n @ h + d.n
    az = W.z @ x + U.z @ h + d.z
    mu = (mean(ar) + mean(an) + mean(az)) / 3
    sq = (mean(ar * ar) + mean(an * an) + mean(az * az)) / 3
    sd = sqrt(sq - mu * mu + 1e-3)
    r = sigmoid(p.r * (ar - mu) / sd + b.r)
    n = tanh(r * (p.n * (an - mu) / sd + b.n))
    z = sigmoid(p.z * (az - mu) / sd + b.z - 1)
    h_next = z * n + (1 - z) * h
