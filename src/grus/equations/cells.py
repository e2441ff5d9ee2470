"""The cells that come with the package. A new cell is its equations and nothing else.

"keep": z keeps the old state, h' = z h + (1 - z) n. "admit": z admits the candidate,
h' = (1 - z) h + z n. The two senses are one function of mirrored weights (sigmoid(-a) = 1 -
sigmoid(a)); reset after and reset before the product are two different functions.
"""

from __future__ import annotations

from typing import cast

from grus.equations.cell import Cell
from grus.equations.operators import relu, sigmoid, tanh
from grus.equations.symbols import U, V, W, b, c, d, h, x


class Gru(Cell):
    """Reset after the product; z keeps the state (cuDNN, PyTorch, Keras' default)."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    m = U.n @ h + d.n
    n = tanh(W.n @ x + b.n + r * m)
    h_next = z * h + (1 - z) * n


class GruAdmit(Cell):
    """Reset after the product; z admits the candidate (Lasagne)."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    m = U.n @ h + d.n
    n = tanh(W.n @ x + b.n + r * m)
    h_next = (1 - z) * h + z * n


class GruResetBefore(Cell):
    """Reset before the product; z keeps the state (Cho et al. 2014 v3, d2l, Keras without
    reset_after)."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = z * h + (1 - z) * n


class GruResetBeforeAdmit(Cell):
    """Reset before the product; z admits the candidate (Chung et al. 2014, Wikipedia, Haiku)."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = (1 - z) * h + z * n


class Lstm(Cell):
    """Long short-term memory with a forget gate (Gers et al. 2000; PyTorch's gate order)."""

    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c_next = f * c + i * g
    h_next = o * tanh(c_next)


class LstmProjected(Cell):
    """An LSTM whose state is projected to fewer units (Sak et al. 2014; PyTorch's proj_size)."""

    i = sigmoid(W.i @ x + U.i @ h + b.i)
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c_next = f * c + i * g
    h_next = V.h @ (o * tanh(c_next))


class Rnn(Cell):
    """The plain recurrent network (Elman 1990) with tanh."""

    h_next = tanh(W.h @ x + U.h @ h + b.h)


class RnnRelu(Cell):
    """The plain recurrent network with relu."""

    h_next = relu(W.h @ x + U.h @ h + b.h)


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in cast(
        "tuple[Cell, ...]",
        (
            *(Gru, GruAdmit, GruResetBefore, GruResetBeforeAdmit),
            *(Lstm, LstmProjected, Rnn, RnnRelu),
        ),
    )
}
