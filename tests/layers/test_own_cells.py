"""Cells of one's own, as papers have them: a result by every way, the same, or one sentence."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

torch = pytest.importorskip("torch")

import grus  # noqa: E402
from cells import ALL_CELLS  # noqa: E402
from grus import reference  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.errors import InputError  # noqa: E402

pytestmark = pytest.mark.torch
TIME, BATCH, HIDDEN, PROJECTION = 4, 2, 4, 3

PUBLISHED = {
    "STAR": "z = tanh(V.z @ x + d.z)\nk = sigmoid(W.k @ x + U.k @ h + b.k)\n"
    "h_next = tanh((1 - k) * h + k * z)",
    "LightRU": "n = tanh(V.n @ x)\nf = sigmoid(W.f @ x + U.f @ h + b.f)\n"
    "h_next = (1 - f) * h + f * n",
    "MUT1": "z = sigmoid(V.z @ x + d.z)\nr = sigmoid(W.r @ x + U.r @ h + b.r)\n"
    "n = tanh(U.n @ (r * h) + tanh(x) + b.n)\nh_next = n * z + h * (1 - z)",
    "MinimalRNN": "z = tanh(V.z @ x + d.z)\nu = sigmoid(U.h @ h + U.z @ z + b.u)\n"
    "h_next = u * h + (1 - u) * z",
    "Mogrifier": "a = 2 * sigmoid(V.q @ h) * x\ng = 2 * sigmoid(V.r @ a) * h\n"
    "z = sigmoid(W.z @ a + U.z @ g + b.z)\nn = tanh(W.n @ a + U.n @ g + b.n)\n"
    "h_next = z * g + (1 - z) * n",
    "SGU": "a = W.g @ x + b.g\ng = tanh(U.g @ (a * h) + d.g)\n"
    "z = hard_sigmoid(W.z @ x + U.z @ h + b.z)\nh_next = (1 - z) * h + z * tanh(V.o @ (g * h))",
    "bias on the projection": "c_next = tanh(W.c @ x + U.c @ h)\nh_next = V.p @ c_next + b.p",
    "a vector alone": "h_next = tanh(h + x + b.h)",
    "MGU3": "f = sigmoid(b.f)\nn = tanh(W.n @ x + U.n @ (f * h) + b.n)\n"
    "h_next = (1 - f) * h + f * n",
    "transposed": "h_next = tanh(U.a.T @ h + W.a @ x)",
    "transposed, of a value": "r = sigmoid(W.r @ x + U.r.T @ h)\n"
    "h_next = tanh(U.a.T @ (r * h) + x)",
    "tied": "n = tanh(W.n @ x + U.n @ h)\nh_next = tanh(h - U.n.T @ n)",
    "tied, with a projection": "c_next = tanh(W.a @ x + U.a @ h + V.p.T @ h) + c\n"
    "h_next = V.p @ c_next",
    "x is added within": "n = tanh(x + U.n @ h)\nh_next = tanh(h + V.a @ n)",
    "x is added within, transposed": "n = U.a @ h + x\n"
    "h_next = tanh(h + U.b.T @ tanh(n) + U.a.T @ tanh(2 * n))",
    "NAS": "a = sigmoid(W.a @ x + U.a @ h + b.a)\nb_ = relu(W.b @ x + U.b @ h)\n"
    "c_next = tanh(a * b_ + c)\nh_next = tanh(c_next * a)",
}
REFUSED = {
    "one axis each": (
        "s_next = 0.05 * (W.s @ x) + 0.95 * s\nh_next = sigmoid(V.s @ s_next + W.h @ x + U.h @ h)",
        "weights of family W have different shapes",
    ),
    "two biases of two sizes": (
        "c_next = tanh(W.c @ x + U.c @ h + b.c)\nh_next = V.p @ c_next + d.p",
        "b and d are stored as torch's two biases",
    ),
    "two families of one name": (
        "h_next = tanh(W.h @ x + ih.h @ h)",
        "the families W and ih would both be stored as weight_ih",
    ),
}


def layer(cell: Cell, backend: str) -> Any:
    sizes = {"proj_size": PROJECTION} if "projection" in axes(cell) else {}
    torch.manual_seed(0)
    made = grus.Recurrent(cell, HIDDEN, HIDDEN, dtype=torch.float64, backend=backend, **sizes)
    return made


def axes(cell: Cell) -> set[str]:
    return {*cell.shapes.states.values(), *(a for w in cell.shapes.weights.values() for a in w)}


def results(cell: Cell, backend: str, **options: Any) -> list[torch.Tensor]:
    """Output and gradients of a layer."""
    made = layer(cell, backend)
    torch.manual_seed(1)
    x = torch.randn(TIME, BATCH, HIDDEN, dtype=torch.float64, requires_grad=True)
    output = made(x, **options)[0]
    leaves = [x, *made.parameters()]
    return [output.detach(), *torch.autograd.grad(output.sin().sum(), leaves)]


def check(cell: Cell) -> None:
    for options in ({}, {"lengths": torch.tensor([2, TIME])}):
        pairs = zip(
            results(cell, "kernels", **options), results(cell, "composite", **options), strict=True
        )
        for one, other in pairs:
            # Hundreds of roundings of numbers below a thousand.
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    made = layer(cell, "kernels")
    x = torch.randn(TIME, BATCH, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        output, _ = made(x)
        stepped = [made.stepper()(x[0])]
        np.testing.assert_allclose(stepped[0][0], output[0], rtol=1e-10, atol=1e-10)
    weights = {f: w.detach().numpy() for f, w in made.layer_weights(0).items()}
    size = {"hidden": HIDDEN, "projection": PROJECTION}
    start = tuple(np.zeros((BATCH, size[a])) for a in cell.shapes.states.values())
    slow = reference.run(cell, weights, x.numpy(), start)
    np.testing.assert_allclose(output.numpy(), slow.output, rtol=1e-10, atol=1e-10)
    assert grus.trace(made, x) is not None


@pytest.mark.parametrize("text", PUBLISHED.values(), ids=PUBLISHED)
def test_published_cells_give_the_same_by_every_way(text: str) -> None:
    check(Cell.parse(text))


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_layer_cannot_hold_is_said(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(Cell.parse(text))


def test_a_cell_that_uses_x_unit_by_unit_is_checked_in_every_layer() -> None:
    """Two directions hand the second layer twice the units; one direction may be stacked."""
    with pytest.raises(InputError, match=r"what layer 1 reads and hidden_size .* got 8 and 4"):
        grus.Recurrent(ALL_CELLS["sru"], 4, 4, num_layers=2, bidirectional=True)
    with pytest.raises(InputError, match=r"input_size and hidden_size .* got 3 and 4"):
        grus.Recurrent(ALL_CELLS["sru"], 3, 4)
    stacked = grus.Recurrent(ALL_CELLS["sru"], 4, 4, num_layers=3)
    assert stacked(torch.zeros(2, 1, 4))[0].shape == (2, 1, 4)


PIECES = [
    *(f"{f}.{g} @ {v}" for f in "WUVp" for g in "ab" for v in ("x", "h", "(r * h)", "r")),
    *(f"{f}.{g}" for f in "bdpq" for g in "ab"),
    *("x", "h", "r", "mean(r)", "1", "0.5", "tanh(1)", "U.a.T @ h", "relu(r)", "maximum(r, 0)"),
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.sampled_from("+-*"))
def test_random_cells_end_in_a_result_or_in_a_sentence(pieces: list[str], sign: str) -> None:
    text = f"r = sigmoid(W.r @ x + h)\nh_next = tanh(0.1 * ({f' {sign} '.join(pieces)}) + r * h)"
    with suppress(InputError):
        check(Cell.parse(text))
