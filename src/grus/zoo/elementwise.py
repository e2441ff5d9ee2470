"""Cells whose units do not see each other's states within a layer: all products are of inputs.

Where the next state is affine in the state as well, a sequence is a scan.
"""

from __future__ import annotations

from grus.equations import (
    Cell,
    Family,
    State,
    W,
    b,
    c,
    d,
    exp,
    h,
    maximum,
    p,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    x,
)
from grus.zoo.record import draw, published

TORCHRECURRENT = "torchrecurrent 0.2.5"
e = Family("e")
a, m, n, s = State("a"), State("m"), State("n"), State("s")


@published(
    2018,
    "Li, Li, Cook, Zhu, Gao: Independently recurrent neural network (CVPR 2018, arXiv 1803.04831)",
    f"{TORCHRECURRENT}, indrnn_cell.py",
    {"p.h": draw("uniform", 0.0, 1.0)},
    "the authors' IndRNN_onlyrecurrent.py",
)
class IndRnn(Cell):
    """Each unit sees its own state alone."""

    h_next = relu(W.h @ x + p.h * h + b.h)


GONNET = (
    "Gonnet, Deselaers: IndyLSTMs: independently recurrent LSTMs (ICASSP 2020, arXiv 1903.08023)"
)


@published(2019, GONNET, "TensorFlow 1's contrib/rnn: IndyGRUCell")
class IndyGru(Cell):
    """A GRU with vectors in the place of its recurrent matrices."""

    r = sigmoid(W.r @ x + p.r * h + b.r)
    z = sigmoid(W.z @ x + p.z * h + b.z)
    n = tanh(W.n @ x + p.n * (r * h) + b.n)
    h_next = z * h + (1 - z) * n


@published(2019, GONNET, "TensorFlow 1's contrib/rnn: IndyLSTMCell")
class IndyLstm(Cell):
    """An LSTM with vectors in the place of its recurrent matrices."""

    i = sigmoid(W.i @ x + p.i * h + b.i)
    f = sigmoid(W.f @ x + p.f * h + b.f)
    g = tanh(W.g @ x + p.g * h + b.g)
    o = sigmoid(W.o @ x + p.o * h + b.o)
    c_next = f * c + i * g
    h_next = o * tanh(c_next)


@published(
    2017,
    "Lei, Zhang, Wang, Dai, Artzi: Simple recurrent units for highly parallelizable recurrence"
    " (EMNLP 2018, arXiv 1709.02755)",
    "sru 2.6.0, ops.py: elementwise_recurrence_naive, input as long as the state, scale 1",
)
class Sru(Cell):
    """The simple recurrent unit: gates see the cell state unit by unit; a highway around it."""

    f = sigmoid(W.f @ x + p.f * c + b.f)
    r = sigmoid(W.r @ x + p.r * c + b.r)
    c_next = f * c + (1 - f) * (W.c @ x)
    y = r * c_next + (1 - r) * x


@published(
    2016,
    "Bradbury, Merity, Xiong, Socher: Quasi-recurrent neural networks (arXiv 1611.01576)",
    "recalled from the paper: fo-pooling with a window of one step",
)
class Qrnn(Cell):
    """The quasi-recurrent network: gates and candidate from the input alone, then pooling."""

    f = sigmoid(W.f @ x + b.f)
    o = sigmoid(W.o @ x + b.o)
    c_next = f * c + (1 - f) * tanh(W.z @ x + b.z)
    y = o * c_next


MINIMAL = "Feng, Tung, Ahmed, Bengio, Hajimirsadeghi: Were RNNs all we needed? (arXiv 2410.01201)"


@published(2024, MINIMAL, "minGRU-pytorch 0.2.1; without bias there")
class MinGru(Cell):
    """A GRU whose gate and candidate see the input alone; g(v) is v + 1/2 above 0, a sigmoid
    below."""

    z = sigmoid(W.z @ x + b.z)
    q = W.n @ x + b.n
    h_next = (1 - z) * h + z * maximum(q + 0.5, sigmoid(q))


@published(2024, MINIMAL, "minGRU-pytorch 0.2.1: minLSTM; without bias there")
class MinLstm(Cell):
    """An LSTM whose gates see the input alone, and are scaled to add up to one."""

    f = sigmoid(W.f @ x + b.f)
    i = sigmoid(W.i @ x + b.i)
    q = W.n @ x + b.n
    h_next = f / (f + i) * h + i / (f + i) * maximum(q + 0.5, sigmoid(q))


@published(
    2023,
    "Qin, Yang, Zhong: Hierarchically gated recurrent neural network for sequence modeling"
    " (NeurIPS 2023, arXiv 2311.04823)",
    "flash-linear-attention 0.6.0, layers/hgrn.py, without convolution",
)
class Hgrn(Cell):
    """The forget gate has a lower bound, learned for each layer."""

    f = sigmoid(p.f) + (1 - sigmoid(p.f)) * sigmoid(W.f @ x)
    q = W.i @ x
    h_next = f * h + (1 - f) * (q * sigmoid(q))


@published(
    2024,
    "De, Smith, Fernando and others: Griffin: mixing gated linear recurrences with local attention"
    " for efficient language models (arXiv 2402.19427)",
    "recurrentgemma 1.0.1, torch/layers.py: RGLRU, one head; the first step's input is not"
    " normalised there",
    {"W": draw("normal_by_inputs", 1.0), "b": 0.0, "p.a": draw("decay", 0.9, 0.999)},
    "recurrentgemma, torch/layers.py: RGLRU",
)
class RgLru(Cell):
    """The real-gated linear recurrent unit: decay and input gated, the input normalised so that
    the state keeps its size. The input must be as long as the state."""

    q = exp(-8 * sigmoid(W.a @ x + b.a) * softplus(p.a))
    h_next = q * h + sqrt(1 - q * q) * (x * sigmoid(W.i @ x + b.i))


@published(
    2016,
    "Balduzzi, Ghifary: Strongly-typed recurrent neural networks (ICML 2016, arXiv 1602.02218)",
    f"{TORCHRECURRENT}, trnn_cell.py",
)
class Trnn(Cell):
    """The strongly typed network: the state is a running average of products with the input."""

    f = sigmoid(W.f @ x + b.f)
    h_next = f * h + (1 - f) * (W.h @ x + d.h)


@published(
    2018,
    "Martin, Cundy: Parallelizing linear recurrent neural nets over sequence length (ICLR 2018,"
    " arXiv 1709.04057)",
    "recalled from the paper: GILR",
)
class Gilr(Cell):
    """The gated impulse linear recurrent layer."""

    g = sigmoid(W.g @ x + b.g)
    h_next = g * h + (1 - g) * tanh(W.i @ x + b.i)


DANIELI = (
    "Danieli, Rodriguez, Sarabia, Suau, Zappella: ParaRNN: unlocking parallel training of nonlinear"
    " RNNs for large language models (arXiv 2510.21450)"
)


@published(2025, DANIELI, "recalled from the paper: ParaGRU")
class ParaGru(Cell):
    """A GRU with vectors for its recurrent matrices, reset before, made to be solved in parallel
    over time."""

    z = sigmoid(W.z @ x + p.z * h + b.z)
    r = sigmoid(W.r @ x + p.r * h + b.r)
    n = tanh(W.n @ x + p.n * (r * h) + b.n)
    h_next = (1 - z) * h + z * n


@published(
    2023,
    "Peng, Alcaide, Anthony and others: RWKV: reinventing RNNs for the transformer era (EMNLP 2023"
    " findings, arXiv 2305.13048)",
    "ChatRWKV, RWKV_in_150_lines.py: time_mixing, without its output matrix, which can follow",
)
class Rwkv(Cell):
    """A gated average of all values so far, weighted by exponentials of keys that decay; s is the
    last input, m the exponent that keeps them in range."""

    k = W.k @ (e.k * x + (1 - e.k) * s)
    v = W.v @ (e.v * x + (1 - e.v) * s)
    q = maximum(m, p.u + k)
    w = (exp(m - q) * a + exp(p.u + k - q) * v) / (exp(m - q) * n + exp(p.u + k - q))
    y = sigmoid(W.r @ (e.r * x + (1 - e.r) * s)) * w
    m_next = maximum(m - exp(p.w), k)
    a_next = exp(m - exp(p.w) - m_next) * a + exp(k - m_next) * v
    n_next = exp(m - exp(p.w) - m_next) * n + exp(k - m_next)
    s_next = x
