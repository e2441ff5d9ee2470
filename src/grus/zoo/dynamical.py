"""Cells that are steps of a differential equation."""

from __future__ import annotations

from grus.equations import Cell, Family, State, U, V, W, b, h, p, relu, sigmoid, softplus, tanh, x
from grus.zoo.record import draw, published

TORCHRECURRENT = "torchrecurrent 0.2.5"
A = Family("A")
q, z = State("q"), State("z")


CHANG = (
    "Chang, Chen, Haber, Chi: AntisymmetricRNN: a dynamical system view on recurrent neural"
    " networks (ICLR 2019, arXiv 1902.09689)"
)


@published(2019, CHANG, f"{TORCHRECURRENT}, antisymmetricrnn_cell.py; epsilon 0.1, gamma 0.01")
class AntisymmetricRnn(Cell):
    """A step of a stable equation: the recurrent matrix is antisymmetric, with a little damping."""

    k = U.h @ h - U.h.T @ h - 0.01 * h
    h_next = h + 0.1 * tanh(W.h @ x + k + b.h)


@published(2019, CHANG, f"{TORCHRECURRENT}, antisymmetricrnn_cell.py; epsilon 0.1, gamma 0.01")
class AntisymmetricRnnGated(Cell):
    """The same with a gate on each unit's step, which sees the same product."""

    k = U.h @ h - U.h.T @ h - 0.01 * h
    h_next = h + 0.1 * sigmoid(W.z @ x + k + b.z) * tanh(W.h @ x + k + b.h)


@published(
    2021,
    "Rusch, Mishra: Coupled oscillatory recurrent neural network (coRNN): an accurate and"
    " (gradient) stable architecture for learning long time dependencies (ICLR 2021,"
    " arXiv 2010.00951)",
    f"{TORCHRECURRENT}, cornn_cell.py; dt 0.1, gamma 1, epsilon 1",
)
class CoRnn(Cell):
    """Coupled, damped oscillators; z is their velocity."""

    n = tanh(W.h @ x + U.h @ h + V.h @ z + b.h)
    z_next = z + 0.1 * n - 0.1 * h - 0.1 * z
    h_next = h + 0.1 * z_next


@published(
    2021,
    "Rusch, Mishra: UnICORNN: a recurrent model for learning very long time dependencies (ICML"
    " 2021, arXiv 2103.05487)",
    f"{TORCHRECURRENT}, unicornn_cell.py; dt 0.1, alpha 1",
    {
        "W": draw("uniform_by_inputs", 2 / 65),
        "b": 0.0,
        "p.h": draw("uniform", 0.0, 1.0),
        "p.c": draw("uniform", -0.1, 0.1),
    },
    "the authors' health_care/network.py",
)
class Unicornn(Cell):
    """Undamped oscillators, each by itself, with a learned frequency."""

    n = tanh(W.h @ x + p.h * h + b.h)
    z_next = z - 0.1 * sigmoid(p.c) * (n + h)
    h_next = h + 0.1 * sigmoid(p.c) * z_next


@published(
    2022,
    "Rusch, Mishra, Erichson, Mahoney: Long expressive memory for sequence modeling (ICLR 2022,"
    " arXiv 2110.04744)",
    f"{TORCHRECURRENT}, lem_cell.py; dt 1",
)
class Lem(Cell):
    """Two learned time scales: z is slow where its step is small, and h follows z."""

    th = sigmoid(W.th @ x + U.th @ h + b.th)
    tz = sigmoid(W.tz @ x + U.tz @ h + b.tz)
    h_next = (1 - th) * h + th * tanh(W.h @ x + V.h @ z + b.h)
    z_next = (1 - tz) * z + tz * tanh(W.z @ x + U.z @ h + b.z)


@published(
    2019,
    "Koppe, Toutounji, Kirsch, Lis, Durstewitz: Identifying nonlinear dynamical systems via"
    " generative recurrent neural networks with applications to fMRI (arXiv 1902.07186)",
    "recalled from the paper",
)
class Plrnn(Cell):
    """The piecewise linear network: a diagonal part and a rectified one."""

    h_next = p.h * h + U.h @ relu(h) + W.h @ x + b.h


@published(
    2021,
    "Erichson, Azencot, Queiruga, Hodgkinson, Mahoney: Lipschitz recurrent neural networks (ICLR"
    " 2021, arXiv 2006.12070)",
    "recalled from the paper: beta 0.75, gamma 0.001, step 0.03,"
    " (1 - beta)(M + M.T) + beta (M - M.T) is M - M.T / 2",
)
class LipschitzRnn(Cell):
    """A linear and a squashed part, both of matrices between symmetric and antisymmetric."""

    k = A.h @ h - 0.5 * (A.h.T @ h) - 0.001 * h
    s = U.h @ h - 0.5 * (U.h.T @ h) - 0.001 * h
    h_next = h + 0.03 * (k + tanh(s + W.h @ x + b.h))


@published(
    2019,
    "De Brouwer, Simm, Arany, Moreau: GRU-ODE-Bayes: continuous modeling of sporadically-observed"
    " time series (NeurIPS 2019, arXiv 1905.12374)",
    "recalled from the paper: an Euler step of 0.1, with the input in the gates",
)
class GruOde(Cell):
    """The GRU as a differential equation: the state moves towards the candidate."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)
    h_next = h + 0.1 * (1 - z) * (n - h)


@published(
    2020,
    "Hasani, Lechner, Amini, Rus, Grosu: Liquid time-constant networks (AAAI 2021,"
    " arXiv 2006.04439)",
    "recalled from the paper: one fused step of 0.1; 1 / tau is softplus(p.t)",
)
class Ltc(Cell):
    """The liquid network: a gate moves the time constant as well as the state."""

    f = sigmoid(W.f @ x + U.f @ h + b.f)
    h_next = (h + 0.1 * f * p.a) / (1 + 0.1 * (softplus(p.t) + f))


@published(
    2022,
    "Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl, Rus: Closed-form"
    " continuous-time neural networks (Nature Machine Intelligence, arXiv 2106.13898)",
    "ncps 1.0.1, torch/cfc_cell.py, without backbone, a time of 1 between steps",
)
class Cfc(Cell):
    """A closed form of liquid time constants: a gate in time blends two candidates."""

    n = tanh(W.n @ x + U.n @ h + b.n)
    m = tanh(W.m @ x + U.m @ h + b.m)
    t = sigmoid(W.a @ x + U.a @ h + b.a + W.t @ x + U.t @ h + b.t)
    h_next = n * (1 - t) + t * m
