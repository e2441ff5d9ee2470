"""Cells that read other positions: convolutions over images, products over graphs.

Windows are 3 x 3 where the papers leave them open. A value has channels at each position; biases
and peepholes are the same at every position.
"""

from __future__ import annotations

from grus.equations import (
    Cell,
    Expr,
    U,
    W,
    b,
    c,
    h,
    neighbours,
    p,
    patches,
    sigmoid,
    tanh,
    x,
)
from grus.zoo.record import published

SHI = (
    "Shi, Chen, Wang, Yeung, Wong, Woo: Convolutional LSTM network: a machine learning approach for"
    " precipitation nowcasting (NeurIPS 2015, arXiv 1506.04214)"
)


def both(gate: str, state: Expr, *window: int) -> Expr:
    """The convolutions of a gate: of the input and of the state."""
    w, u = getattr(W, gate), getattr(U, gate)
    product: Expr = w @ patches(x, *window) + u @ patches(state, *window)
    return product


def diffused(gate: str, state: Expr, matrix: int) -> Expr:
    """One and two steps of diffusion along matrix ``matrix``; W.g2 is of the second step."""
    w, u, w2, u2 = (getattr(f, f"{gate}{k}") for k in ("", "2") for f in (W, U))
    steps: Expr = w @ x + u @ state + neighbours(w2 @ x + u2 @ state, matrix)
    return neighbours(steps, matrix)


@published(2015, SHI, "automan000/Convolutional_LSTM_PyTorch, convolution_lstm.py")
class ConvLstmPeephole(Cell):
    """An LSTM of convolutions whose gates see the cell state; the paper has a peephole for each
    position, here one for each channel."""

    i = sigmoid(both("i", h, 3, 3) + p.i * c + b.i)
    f = sigmoid(both("f", h, 3, 3) + p.f * c + b.f)
    c_next = f * c + i * tanh(both("g", h, 3, 3) + b.g)
    o = sigmoid(both("o", h, 3, 3) + p.o * c_next + b.o)
    h_next = o * tanh(c_next)


@published(2015, SHI, "ndrplz/ConvLSTM_pytorch, convlstm.py")
class ConvLstm(Cell):
    """An LSTM of convolutions, as most code has it: without peepholes."""

    i = sigmoid(both("i", h, 3, 3) + b.i)
    f = sigmoid(both("f", h, 3, 3) + b.f)
    o = sigmoid(both("o", h, 3, 3) + b.o)
    c_next = f * c + i * tanh(both("g", h, 3, 3) + b.g)
    h_next = o * tanh(c_next)


@published(
    2016,
    "Ballas, Yao, Pal, Courville: Delving deeper into convolutional networks for learning video"
    " representations (ICLR 2016, arXiv 1511.06432)",
    "jacobkimmel/pytorch_convgru, convgru.py",
)
class ConvGru(Cell):
    """A GRU whose products are convolutions: a state of channels at each position of an image."""

    r = sigmoid(both("r", h, 3, 3) + b.r)
    z = sigmoid(both("z", h, 3, 3) + b.z)
    n = tanh(both("n", r * h, 3, 3) + b.n)
    h_next = (1 - z) * h + z * n


@published(
    2020,
    "Teed, Deng: RAFT: recurrent all-pairs field transforms for optical flow (ECCV 2020,"
    " arXiv 2003.12039)",
    "princeton-vl/RAFT, core/update.py: SepConvGRU",
)
class SepConvGru(Cell):
    """Two convolutional GRUs in one step: along rows, then along columns."""

    z1 = sigmoid(both("z1", h, 1, 5) + b.z1)
    r1 = sigmoid(both("r1", h, 1, 5) + b.r1)
    n1 = tanh(both("n1", r1 * h, 1, 5) + b.n1)
    g = (1 - z1) * h + z1 * n1
    z2 = sigmoid(both("z2", g, 5, 1) + b.z2)
    r2 = sigmoid(both("r2", g, 5, 1) + b.r2)
    n2 = tanh(both("n2", r2 * g, 5, 1) + b.n2)
    h_next = (1 - z2) * g + z2 * n2


@published(
    2016,
    "Li, Tarlow, Brockschmidt, Zemel: Gated graph sequence neural networks (ICLR 2016,"
    " arXiv 1511.05493)",
    "recalled from the paper; pyg-team/pytorch_geometric, gated_graph_conv.py, has edges one way",
)
class GgnnGru(Cell):
    """A GRU whose input is its neighbours' states, along edges (matrix 0) and against them (1);
    the first state holds what is known of each node, and x says only how many steps there are."""

    m = neighbours(U.to @ h) + neighbours(U.back @ h, 1) + b.m
    r = sigmoid(W.r @ m + U.r @ h)
    z = sigmoid(W.z @ m + U.z @ h)
    n = tanh(W.n @ m + U.n @ (r * h))
    h_next = (1 - z) * h + z * n


@published(
    2018,
    "Li, Yu, Shahabi, Liu: Diffusion convolutional recurrent neural network: data-driven traffic"
    " forecasting (ICLR 2018, arXiv 1707.01926)",
    "the paper's equations; liyaguang/DCRNN, model/dcrnn_cell.py, whose second step is Chebyshev's",
    {"b.r": 1.0, "b.z": 1.0},
)
class Dcgru(Cell):
    """A GRU whose products diffuse over a graph for up to two steps, along the forward random walk
    (matrix 0) and the backward one (1)."""

    rf = diffused("rf", h, 0)
    rb = diffused("rb", h, 1)
    r = sigmoid(W.r @ x + U.r @ h + rf + rb + b.r)
    zf = diffused("zf", h, 0)
    zb = diffused("zb", h, 1)
    z = sigmoid(W.z @ x + U.z @ h + zf + zb + b.z)
    nf = diffused("nf", r * h, 0)
    nb = diffused("nb", r * h, 1)
    n = tanh(W.n @ x + U.n @ (r * h) + nf + nb + b.n)
    h_next = z * h + (1 - z) * n
