"""Cells with a cell state beside the hidden state: long short-term memory and what came of it."""

from __future__ import annotations

from grus.equations import (
    Cell,
    Family,
    State,
    U,
    V,
    W,
    b,
    c,
    d,
    exp,
    h,
    maximum,
    minimum,
    p,
    relu,
    sigmoid,
    softplus,
    tanh,
    x,
)
from grus.zoo.record import LONGEST, draw, published

TORCHRECURRENT = "torchrecurrent 0.2.5"
Q, R = Family("Q"), Family("R")
k, m, s, v = State("k"), State("m"), State("s"), State("v")


@published(
    1997,
    "Hochreiter, Schmidhuber: Long short-term memory (Neural Computation 9(8))",
    f"{TORCHRECURRENT}, originallstm_cell.py",
)
class LstmOriginal(Cell):
    """The first LSTM: no forget gate, the cell state only adds up."""

    i = sigmoid(W.i @ x + U.i @ h + b.i)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c_next = c + i * g
    h_next = o * tanh(c_next)


@published(
    2002,
    "Gers, Schraudolph, Schmidhuber: Learning precise timing with LSTM recurrent networks (JMLR 3)",
    f"{TORCHRECURRENT}, peepholelstm_cell.py",
)
class LstmPeephole(Cell):
    """The gates also see the cell state, unit by unit."""

    i = sigmoid(W.i @ x + U.i @ h + p.i * c + b.i)
    f = sigmoid(W.f @ x + U.f @ h + p.f * c + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    c_next = f * c + i * g
    o = sigmoid(W.o @ x + U.o @ h + p.o * c_next + b.o)
    h_next = o * tanh(c_next)


@published(
    2015,
    "Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber: LSTM: a search space odyssey"
    " (arXiv 1503.04069)",
    "recalled from the paper: CIFG",
)
class LstmCoupled(Cell):
    """Coupled input and forget gates: what is forgotten makes room for what comes."""

    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c_next = f * c + (1 - f) * g
    h_next = o * tanh(c_next)


@published(
    2018,
    "van der Westhuizen, Lasenby: The unreasonable effectiveness of the forget gate"
    " (arXiv 1804.04849)",
    f"{TORCHRECURRENT}, janet_cell.py",
    {"b.f": draw("log_uniform", 1.0, LONGEST), "b.g": 0.0},
    "the authors' aux_code/rnn_cells.py: chrono_init",
)
class Janet(Cell):
    """An LSTM with the forget gate alone; beta = 1 lets it take in more than it forgets."""

    q = W.f @ x + U.f @ h + b.f
    h_next = sigmoid(q) * h + (1 - sigmoid(q - 1)) * tanh(W.g @ x + U.g @ h + b.g)


@published(
    2017,
    "Lee, Levy, Zettlemoyer: Recurrent additive networks (arXiv 1705.07393)",
    f"{TORCHRECURRENT}, ran_cell.py",
)
class Ran(Cell):
    """The recurrent additive network: the cell state is a gated sum of products with the input."""

    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    c_next = i * (W.c @ x) + f * c
    h_next = tanh(c_next)


@published(
    2016,
    "Krause, Lu, Murray, Renals: Multiplicative LSTM for sequence modelling (arXiv 1609.07959)",
    f"{TORCHRECURRENT}, multiplicativelstm_cell.py",
)
class LstmMultiplicative(Cell):
    """The gates see a product of input and state instead of the state."""

    q = (W.m @ x + b.m) * (U.m @ h + d.m)
    i = sigmoid(W.i @ x + U.i @ q + b.i)
    f = sigmoid(W.f @ x + U.f @ q + b.f)
    g = tanh(W.g @ x + U.g @ q + b.g)
    o = sigmoid(W.o @ x + U.o @ q + b.o)
    c_next = f * c + i * g
    h_next = o * tanh(c_next)


@published(
    2017,
    "Kim, El-Khamy, Lee: Residual LSTM: design of a deep recurrent architecture for distant speech"
    " recognition (arXiv 1701.03360)",
    f"{TORCHRECURRENT}, reslstm_cell.py",
)
class LstmResidual(Cell):
    """The output gate passes a projection of the cell state and, past it, one of the input."""

    i = sigmoid(W.i @ x + U.i @ h + p.i * c + b.i)
    f = sigmoid(W.f @ x + U.f @ h + p.f * c + b.f)
    c_next = f * c + i * tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + p.o * c_next + b.o)
    h_next = o * (V.h @ tanh(c_next) + R.h @ x)


@published(
    2017,
    "Sequence modeling with a memory controller (Intel, NIPS 2017 workshop; as cited by"
    " torchrecurrent)",
    f"{TORCHRECURRENT}, mclstm_cell.py",
)
class LstmController(Cell):
    """The memory controller LSTM: what goes back into the gates has a gate of its own."""

    f = sigmoid(W.f @ x + U.f @ v + b.f)
    i = sigmoid(W.i @ x + U.i @ v + b.i)
    o = sigmoid(W.o @ x + U.o @ v + b.o)
    q = sigmoid(W.q @ x + U.q @ v + b.q)
    c_next = f * c + i * tanh(W.g @ x + U.g @ v + b.g)
    v_next = q * tanh(c_next)
    y = o * tanh(c_next)


@published(
    2021,
    "Landi, Baraldi, Cornia, Cucchiara: Working memory connections for LSTM (arXiv 2109.00020)",
    f"{TORCHRECURRENT}, wmclstm_cell.py",
)
class LstmWorkingMemory(Cell):
    """The gates see a squashed product of the cell state: a peephole that mixes units."""

    i = sigmoid(W.i @ x + U.i @ h + tanh(V.i @ c + d.i) + b.i)
    f = sigmoid(W.f @ x + U.f @ h + tanh(V.f @ c + d.f) + b.f)
    c_next = f * c + i * tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + tanh(V.o @ c_next + d.o) + b.o)
    h_next = o * tanh(c_next)


@published(
    2017,
    "Costa, Assael, Shillingford, de Freitas, Vogels: Cortical microcircuits as gated-recurrent"
    " neural networks (NIPS 2017, arXiv 1711.02448)",
    "pytorch-sublstm, subLSTM/functional/cell.py",
)
class SubLstm(Cell):
    """Gates subtract instead of multiplying, as inhibition does in a cortex."""

    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c_next = f * c + z - i
    h_next = sigmoid(c_next) - o


@published(
    2017,
    "Moniz, Krueger: Nested LSTMs (ACML 2017, arXiv 1801.10308)",
    "recalled from the paper: two levels",
)
class LstmNested(Cell):
    """The cell state is the hidden state of an LSTM inside, which has a cell state of its own."""

    hm = sigmoid(W.f @ x + U.f @ h + b.f) * c
    xm = sigmoid(W.i @ x + U.i @ h + b.i) * tanh(W.g @ x + U.g @ h + b.g)
    i = sigmoid(Q.i @ xm + R.i @ hm + d.i)
    f = sigmoid(Q.f @ xm + R.f @ hm + d.f)
    s_next = f * s + i * tanh(Q.g @ xm + R.g @ hm + d.g)
    c_next = sigmoid(Q.o @ xm + R.o @ hm + d.o) * tanh(s_next)
    h_next = sigmoid(W.o @ x + U.o @ h + b.o) * tanh(c_next)


@published(
    2016,
    "Zoph, Le: Neural architecture search with reinforcement learning (arXiv 1611.01578)",
    f"{TORCHRECURRENT}, nas_cell.py",
)
class Nas(Cell):
    """The cell that a search found: eight products, joined in pairs."""

    q0 = sigmoid(W.q0 @ x + U.q0 @ h + b.q0) * relu(W.q1 @ x + U.q1 @ h + b.q1)
    q1 = sigmoid(W.q2 @ x + U.q2 @ h + b.q2) + relu(W.q3 @ x + U.q3 @ h + b.q3)
    q2 = tanh(W.q4 @ x + U.q4 @ h + b.q4) * sigmoid(W.q5 @ x + U.q5 @ h + b.q5)
    q3 = tanh(W.q6 @ x + U.q6 @ h + b.q6) + sigmoid(W.q7 @ x + U.q7 @ h + b.q7)
    c_next = tanh(tanh(q0) + c) * tanh(q1)
    h_next = tanh(c_next * tanh(tanh(q2) + sigmoid(q3)))


@published(
    2024,
    "Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter: xLSTM:"
    " extended long short-term memory (arXiv 2405.04517)",
    "xlstm 2.0.6, blocks/slstm/src/vanilla/slstm.py, one head; there the first step skips the"
    " comparison with m",
    {"U": 0.0, "b": 0.0, "b.f": draw("ramp", 5.0, -7.0, 0.3)},
    "xlstm, blocks/slstm/cell.py: powerlaw_blockdependent, the first block",
)
class Slstm(Cell):
    """Exponential gates, kept in range by m, the logarithm of their largest product so far; k
    counts what was let in."""

    f = -softplus(-(W.f @ x + U.f @ h + b.f)) + m
    i = W.i @ x + U.i @ h + b.i
    m_next = maximum(i, f)
    fg = minimum(exp(f - m_next), 1)
    ig = minimum(exp(i - m_next), 1)
    c_next = fg * c + ig * tanh(W.z @ x + U.z @ h + b.z)
    k_next = fg * k + ig
    h_next = sigmoid(W.o @ x + U.o @ h + b.o) * c_next / k_next


@published(
    2020,
    "Melis, Kocisky, Blunsom: Mogrifier LSTM (ICLR 2020, arXiv 1909.01792)",
    "recalled from the paper: two rounds",
)
class Mogrifier(Cell):
    """Input and state gate each other before an LSTM sees them."""

    xm = 2 * sigmoid(Q.x @ h) * x
    hm = 2 * sigmoid(R.h @ xm) * h
    i = sigmoid(W.i @ xm + U.i @ hm + b.i)
    f = sigmoid(W.f @ xm + U.f @ hm + b.f)
    g = tanh(W.g @ xm + U.g @ hm + b.g)
    o = sigmoid(W.o @ xm + U.o @ hm + b.o)
    c_next = f * c + i * g
    h_next = o * tanh(c_next)


@published(
    2022,
    "Irie, Csordas, Schmidhuber: Exploring the promise and limits of real-time recurrent learning"
    " (arXiv 2305.19044)",
    "recalled from the paper",
)
class LstmElementwise(Cell):
    """eLSTM: gates feed back unit by unit, so that exact real-time learning is cheap."""

    f = sigmoid(W.f @ x + p.f * c + b.f)
    g = tanh(W.g @ x + p.g * c + b.g)
    c_next = f * c + (1 - f) * g
    o = sigmoid(W.o @ x + U.o @ c_next + b.o)
    y = o * c_next
