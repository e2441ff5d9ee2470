"""Other gated cells with one state: residual, highway, twin-gated, bistable, multiplicative."""

from __future__ import annotations

from grus.equations import (
    Cell,
    Family,
    State,
    U,
    V,
    W,
    b,
    d,
    h,
    p,
    relu,
    sigmoid,
    tanh,
    x,
)
from grus.zoo.record import Draw, draw, published

TORCHRECURRENT = "torchrecurrent 0.2.5"
a, e, s = Family("a"), Family("e"), State("s")


COLLINS = (
    "Collins, Sohl-Dickstein, Sussillo: Capacity and trainability in recurrent neural networks"
    " (ICLR 2017, arXiv 1611.09913)"
)


@published(
    2017,
    COLLINS,
    f"{TORCHRECURRENT}, ugrnn_cell.py",
    {"b.g": 1.0},
    "TensorFlow 1's contrib/rnn: UGRNNCell",
)
class Ugrnn(Cell):
    """The update gate RNN: a GRU without reset."""

    n = tanh(W.n @ x + U.n @ h + b.n)
    g = sigmoid(W.g @ x + U.g @ h + b.g)
    h_next = g * h + (1 - g) * n


@published(
    2017,
    COLLINS,
    f"{TORCHRECURRENT}, intersectionrnn_cell.py",
    {"b.y": 1.0, "b.h": 1.0},
    "TensorFlow 1's contrib/rnn: IntersectionRNNCell",
)
class IntersectionRnn(Cell):
    """Gated in time and in depth: the output is gated between the input and a rectified
    candidate, so the input must be as long as the state."""

    u = relu(W.u @ x + U.u @ h + b.u)
    n = tanh(W.n @ x + U.n @ h + b.n)
    gy = sigmoid(W.y @ x + U.y @ h + b.y)
    gh = sigmoid(W.h @ x + U.h @ h + b.h)
    h_next = gh * h + (1 - gh) * n
    y = gy * x + (1 - gy) * u


@published(
    2017,
    "Laurent, von Brecht: A recurrent neural network without chaos (ICLR 2017, arXiv 1612.06212)",
    f"{TORCHRECURRENT}, cfn_cell.py",
)
class Cfn(Cell):
    """The chaos free network: gates, but nothing that mixes the units' states."""

    q = sigmoid(W.q @ x + U.q @ h + b.q)
    e = sigmoid(W.e @ x + U.e @ h + b.e)
    h_next = q * tanh(h) + e * tanh(W.h @ x + b.h)


@published(
    2018,
    "Zhang, Xiong, Su, Lin, Zhang: Simplifying neural machine translation with addition-subtraction"
    " twin-gated recurrent networks (EMNLP 2018, arXiv 1810.12546)",
    f"{TORCHRECURRENT}, atr_cell.py",
)
class Atr(Cell):
    """Twin gates from the sum and the difference of one product each."""

    q = W.p @ x + b.p
    k = U.q @ h + d.q
    i = sigmoid(q + k)
    f = sigmoid(q - k)
    h_next = i * q + f * h


@published(
    2019,
    "Zhang, Sennrich: A lightweight recurrent network for sequence modeling (ACL 2019,"
    " arXiv 1905.13324)",
    "recalled from the paper",
)
class Lrn(Cell):
    """All products are of the input; the gates compare them with the state."""

    q = W.q @ x
    k = W.k @ x
    v = W.v @ x
    i = sigmoid(k + h)
    f = sigmoid(q - h)
    h_next = tanh(i * v + f * h)


@published(
    2017,
    "Chen: MinimalRNN: toward more interpretable and trainable recurrent neural networks"
    " (arXiv 1711.06788)",
    f"{TORCHRECURRENT}, minimalrnn_cell.py",
)
class MinimalRnn(Cell):
    """The state moves in the space of the input's latent."""

    n = tanh(W.n @ x + b.n)
    u = sigmoid(U.u @ h + V.u @ n + b.u)
    h_next = u * h + (1 - u) * n


@published(
    2021,
    "Simple gated recurrent network, IET Generation, Transmission and Distribution 2021"
    " (doi 10.1049/gtd2.12056)",
    f"{TORCHRECURRENT}, sgrn_cell.py",
)
class Sgrn(Cell):
    """One pair of products makes both the gate and the candidate."""

    q = W.f @ x + b.f
    f = sigmoid(q + U.f @ h)
    h_next = tanh((1 - f) * q + f * h)


@published(
    2022,
    "Turkoglu, D'Aronco, Wegner, Schindler: Gating revisited: deep multi-layer RNNs that can be"
    " trained (TPAMI 2022, arXiv 1911.11033)",
    f"{TORCHRECURRENT}, star_cell.py",
)
class Star(Cell):
    """The stackable recurrent cell: gradients keep their size across layers too."""

    n = tanh(W.n @ x + b.n)
    k = sigmoid(W.k @ x + U.k @ h + b.k)
    h_next = tanh((1 - k) * h + k * n)


VECOVEN = (
    "Vecoven, Ernst, Drion: A bio-inspired bistable recurrent cell allows for long-lasting memory"
    " (PLOS ONE 2021, arXiv 2006.05252)"
)


@published(
    2021,
    VECOVEN,
    f"{TORCHRECURRENT}, br_cell.py",
    {"W": draw("glorot_uniform"), "p": 1.0, "b": 0.0},
    "the authors' BistableRecurrentCellLayer.py",
)
class Brc(Cell):
    """The bistable recurrent cell: each unit feeds back on itself alone, and may hold one of two
    states for ever."""

    g = 1 + tanh(W.g @ x + p.g * h + b.g)
    q = sigmoid(W.q @ x + p.q * h + b.q)
    h_next = q * h + (1 - q) * tanh(W.n @ x + b.n + g * h)


@published(
    2021,
    VECOVEN,
    f"{TORCHRECURRENT}, br_cell.py",
    {"W": draw("glorot_uniform"), "U": draw("orthogonal"), "b": 0.0},
    "the authors' NeuromodulatedBistableRecurrentCellLayer.py",
)
class Nbrc(Cell):
    """The bistable cell, neuromodulated: the units' gates see all states."""

    g = 1 + tanh(W.g @ x + U.g @ h + b.g)
    q = sigmoid(W.q @ x + U.q @ h + b.q)
    h_next = q * h + (1 - q) * tanh(W.n @ x + b.n + g * h)


KUSUPATI = (
    "Kusupati, Singh, Bhatia, Kumar, Jain, Varma: FastGRNN: a fast, accurate, stable and tiny"
    " kilobyte sized gated recurrent neural network (NeurIPS 2018, arXiv 1901.02358)"
)
EDGE: dict[str, float | Draw] = {"W": draw("normal", 0.1), "U": draw("normal", 0.1), "b": 1.0}
EDGE_ML = "EdgeML, pytorch/edgeml_pytorch/graph/rnn.py"


@published(
    2018,
    KUSUPATI,
    f"{TORCHRECURRENT}, fastrnn_cell.py; alpha and beta are a number for all units there",
    {**EDGE, "p.alpha": -3.0, "p.beta": 3.0},
    EDGE_ML,
)
class FastRnn(Cell):
    """A plain network with a learned residual connection."""

    n = tanh(W.n @ x + U.n @ h + b.n)
    h_next = sigmoid(p.alpha) * n + sigmoid(p.beta) * h


@published(
    2018,
    KUSUPATI,
    f"{TORCHRECURRENT}, fastrnn_cell.py; zeta and nu are a number for all units there",
    {**EDGE, "p.zeta": 1.0, "p.nu": -4.0},
    EDGE_ML,
)
class FastGrnn(Cell):
    """The gate and the candidate share their matrices: a cell for kilobytes of memory."""

    q = W.q @ x + U.q @ h
    z = sigmoid(q + b.z)
    n = tanh(q + b.n)
    h_next = (sigmoid(p.zeta) * (1 - z) + sigmoid(p.nu)) * n + z * h


@published(
    2017,
    "Zilly, Srivastava, Koutnik, Schmidhuber: Recurrent highway networks (ICML 2017,"
    " arXiv 1607.03474)",
    "recalled from the paper: coupled carry gate and two micro-steps",
    {**dict.fromkeys("WUb", draw("uniform", -0.04, 0.04)), "b.t1": -2.0, "b.t2": -2.0},
    "the authors' rhn_train.py for the Penn treebank",
)
class Rhn(Cell):
    """A recurrent highway network of depth 2: two gated layers inside each step."""

    q = tanh(W.q @ x + U.q1 @ h + b.q1)
    t = sigmoid(W.t @ x + U.t1 @ h + b.t1)
    s = q * t + h * (1 - t)
    q2 = tanh(U.q2 @ s + b.q2)
    t2 = sigmoid(U.t2 @ s + b.t2)
    h_next = q2 * t2 + s * (1 - t2)


@published(
    2011,
    "Sutskever, Martens, Hinton: Generating text with recurrent neural networks (ICML 2011)",
    "RecurrentLayers.jl, wrappers/multiplicative.jl",
)
class MultiplicativeRnn(Cell):
    """The input chooses the recurrent matrix, by its factors."""

    m = (W.m @ x) * (U.m @ h)
    h_next = tanh(W.h @ x + U.h @ m + b.h)


@published(
    2016,
    "Wu, Zhang, Zhang, Bengio, Salakhutdinov: On multiplicative integration with recurrent neural"
    " networks (NeurIPS 2016, arXiv 1606.06630)",
    "recalled from the paper",
)
class MiRnn(Cell):
    """Multiplicative integration: the products of input and state multiplied as well as added."""

    q = W.h @ x
    k = U.h @ h
    h_next = tanh(a.h * q * k + e.h * k + e.x * q + b.h)


@published(
    2015,
    "Mikolov, Joulin, Chopra, Mathieu, Ranzato: Learning longer memory in recurrent neural networks"
    " (ICLR 2015, arXiv 1412.7753)",
    "recalled from the paper, without its output layer",
)
class Scrn(Cell):
    """The structurally constrained network: a slow context beside the state, alpha 0.95."""

    k = W.h @ x + U.h @ h
    s_next = 0.05 * (W.s @ x) + 0.95 * s
    h_next = sigmoid(k + U.s @ s_next)
