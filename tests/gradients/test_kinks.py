"""Derivatives where two branches meet: torch's, by every way there is to them.

A cell ``h_next = f(W.a @ x + U.a @ h)`` with the identity for W, no state and a point of f for x:
its derivative along x is f's, exactly. Each point goes by the derived backward step on the
reference, by the kernels, and backward and forward through the composite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, func  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

import grus  # noqa: E402
from backprop import Problem, backpropagate  # noqa: E402
from grus.dialects.activation import KINDS, Activation  # noqa: E402
from grus.equations import (  # noqa: E402
    OPERATORS,
    Apply,
    Cell,
    Expr,
    Name,
    U,
    W,
    clip,
    h,
    hard_sigmoid,
    maximum,
    minimum,
    p,
    positive,
    relu,
    x,
)
from grus.gradients import backward  # noqa: E402
from grus.onnx import forms as onnx  # noqa: E402

pytestmark = pytest.mark.torch

POINTS = [-3.0, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0]
"""Among them every point at which a function of the tables below has a kink."""
N = len(POINTS)
Function = tuple[Callable[[Expr], Expr], Callable[[Tensor], Tensor]]


def named(name: str, *numbers: float) -> Callable[[Expr], Expr]:
    return Activation(name, *numbers)


ACTIVATIONS: dict[str, Function] = {
    "sigmoid": (named("sigmoid"), torch.sigmoid),
    "tanh": (named("tanh"), torch.tanh),
    "relu": (named("relu"), torch.relu),
    "linear": (named("linear"), lambda v: 1 * v),
    "hard_sigmoid": (
        named("hard_sigmoid", 0.25, 0.5),
        lambda v: F.hardtanh(0.25 * v + 0.5, 0.0, 1.0),
    ),
    "softsign": (named("softsign"), F.softsign),
    "scaled_tanh": (named("scaled_tanh", 2.0, 0.5), lambda v: 2 * torch.tanh(0.5 * v)),
    "leaky_relu": (named("leaky_relu", 0.25), lambda v: F.leaky_relu(v, 0.25)),
    "thresholded_relu": (named("thresholded_relu", 1.0), lambda v: F.threshold(v, 1.0, 0.0)),
    "elu": (named("elu", 0.5), lambda v: F.elu(v, 0.5)),
    "affine": (named("affine", 2.0, 1.0), lambda v: 2 * v + 1),
    "exponential": (named("exponential"), torch.exp),
    "silu": (named("silu"), F.silu),
}
ONNX: dict[str, Function] = {
    "softplus": (None, F.softplus),  # type: ignore[dict-item]  # several equations, see `cell_of`
}
OPERATIONS: dict[str, Function] = {
    "relu, an operator": (relu, torch.relu),
    "negated relu": (lambda v: -relu(-v), lambda v: -torch.relu(-v)),
    "clip": (lambda v: clip(v, 2.0), lambda v: F.hardtanh(v, -2.0, 2.0)),
    "hard sigmoid": (lambda v: hard_sigmoid(v, 0.25), lambda v: F.hardtanh(0.25 * v + 0.5, 0, 1)),
    "relu6's bound": (lambda v: minimum(relu(v), 2), lambda v: F.hardtanh(v, 0.0, 2.0)),
    "absolute value": (lambda v: maximum(v, -v), torch.abs),
    "bound on the left": (lambda v: maximum(0, v), torch.relu),
    "smaller of two": (lambda v: minimum(v, 2 * v), lambda v: torch.minimum(v, 2 * v)),
    "larger of two": (lambda v: maximum(v, 2 * v), lambda v: torch.maximum(v, 2 * v)),
    "equal values": (lambda v: maximum(v, 1 * v), lambda v: torch.maximum(v, 1 * v)),
    "larger than a weight": (
        lambda v: maximum(v, p.zero),
        lambda v: torch.maximum(v, torch.zeros_like(v)),
    ),
}
EVERY = {**ACTIVATIONS, **ONNX, **OPERATIONS}
every = pytest.mark.parametrize("name", EVERY)


def cell_of(name: str) -> Cell:
    """``v``, the point; then the function of it."""
    before = [("v", W.a @ x + U.a @ h)]
    if name in ONNX:
        written = onnx.activations([name], [], [], "here")[0].equations("h_next", Name("v"))
        return Cell("kink", (*before, *written))
    return Cell("kink", (*before, ("h_next", EVERY[name][0](Name("v")))))


def layer_of(cell: Cell, backend: str) -> Any:
    layer = grus.Recurrent(cell, N, N, dtype=torch.float64, backend=backend)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.eye(N) if parameter.dim() == 2 else torch.zeros(N))
    return layer


def of_torch(name: str, points: Tensor) -> tuple[Tensor, Tensor]:
    """f and f' at each point, by torch's function."""
    at = points.clone().requires_grad_()
    value = EVERY[name][1](at)
    return value.detach(), torch.autograd.grad(value.sum(), at)[0]


def by_reference(cell: Cell, points: Tensor) -> Tensor:
    zero = np.zeros((1, N))
    problem = Problem(
        {f: np.eye(N) if f in "WU" else np.zeros(N) for f in cell.families},
        *(points.numpy(), (zero,), {}, np.ones((1, 1, N)), (zero,)),
    )
    return torch.from_numpy(backpropagate(cell, backward(cell), problem).x)


def by_layer(backend: str) -> Callable[[Cell, Tensor], Tensor]:
    def vjp(cell: Cell, points: Tensor) -> Tensor:
        at = points.clone().requires_grad_()
        layer_of(cell, backend)(at)[0].sum().backward()
        assert at.grad is not None
        return at.grad

    return vjp


def forward_of(backend: str) -> Callable[[Cell, Tensor], Tensor]:
    def jvp(cell: Cell, points: Tensor) -> Tensor:
        layer = layer_of(cell, backend)
        found: Tensor = func.jvp(lambda v: layer(v)[0], (points,), (torch.ones_like(points),))[1]
        return found

    return jvp


WAYS = {
    "reference": by_reference,
    "kernels": by_layer("kernels"),
    "composite": by_layer("composite"),
    "kernels, forward": forward_of("kernels"),
    "composite, forward": forward_of("composite"),
}


@every
@pytest.mark.parametrize("way", WAYS)
def test_every_function_has_torchs_derivative_at_its_kinks(name: str, way: str) -> None:
    points = torch.tensor(POINTS, dtype=torch.float64).reshape(1, 1, N)
    _, want = of_torch(name, points)
    found = WAYS[way](cell_of(name), points)
    # A dozen roundings of numbers below 10; a wrong branch is off by 0.1 and more.
    torch.testing.assert_close(found, want, rtol=1e-14, atol=1e-14)


@every
@pytest.mark.parametrize("backend", ["kernels", "composite"])
def test_every_function_has_torchs_values(name: str, backend: str) -> None:
    points = torch.tensor(POINTS, dtype=torch.float64).reshape(1, 1, N)
    layer = layer_of(cell_of(name), backend)
    torch.testing.assert_close(
        layer(points)[0].detach(), of_torch(name, points)[0], rtol=1e-14, atol=1e-14
    )
    # A NaN goes through products with the identity to every unit.
    assert layer(torch.full_like(points, float("nan")))[0].isnan().all()


def test_the_tables_here_have_every_activation_and_every_operator_with_a_kink() -> None:
    assert set(ACTIVATIONS) == set(KINDS)
    spelt = {name.replace("_", "") for name in ACTIVATIONS} | set(ONNX)
    assert set(onnx.NAMES) <= spelt
    tried = {node.op for name in EVERY for node in cell_of(name).nodes if isinstance(node, Apply)}
    smooth = {"log", "matmul_t", "mean", "softplus", "sqrt"}
    gathers = {name for name, op in OPERATORS.items() if op.kind in ("gather", "blocks")}
    assert tried == set(OPERATORS) - smooth - gathers


@pytest.mark.parametrize(
    ("op", "name"), [("minimum", "smaller of two"), ("maximum", "larger of two")]
)
def test_a_rule_that_gives_a_tie_to_one_side_is_seen(op: str, name: str, monkeypatch: Any) -> None:
    def all_to_one(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
        return g * positive(a - b), g * (1 - positive(a - b))

    monkeypatch.setitem(OPERATORS, op, replace(OPERATORS[op], derivative=all_to_one))
    backward.cache_clear()
    points = torch.zeros((1, 1, N), dtype=torch.float64)
    wrong = by_reference(cell_of(name), points)
    backward.cache_clear()
    assert (wrong - of_torch(name, points)[1]).abs().min() == 0.5
