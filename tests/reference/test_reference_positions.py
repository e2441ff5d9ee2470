"""The reference of cells that read other positions, against convolutions and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grus.equations import Cell
from grus.errors import InputError, ShapeError
from grus.reference import run

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(5)
TIME, BATCH, INPUT, H = 4, 3, 2, 5
IMAGE = Cell.parse("h_next = tanh(W.n @ patches(x, 3, 5) + U.n @ patches(h, 3, 5) + b.n)", "image")
LINE = Cell.parse("h_next = tanh(W.n @ patches(x, 3) + U.n @ patches(h, 3) + b.n)", "line")
GRAPH = Cell.parse("h_next = tanh(W.n @ x + U.n @ neighbours(neighbours(h), 1) + b.n)", "graph")
MATRICES = [RNG.normal(size=(6, 6)) / 2 for _ in range(2)]


def problem(cell: Cell, *positions: int) -> tuple[dict[str, Any], Any, Any]:
    sizes = {"input": INPUT, "hidden": H}
    weights = {f: RNG.normal(size=cell.family_shape(f, sizes)) / 3 for f in cell.families}
    x, h = (
        RNG.normal(size=(*lead, *positions, n))
        for lead, n in (((TIME, BATCH), INPUT), ((BATCH,), H))
    )
    return weights, x, h


def convolved(weights: dict[str, Any], x: Any, h: Any, window: tuple[int, ...]) -> Any:
    """The same by torch, channels first."""
    convolve = F.conv2d if len(window) == 2 else F.conv1d
    edge = tuple(size // 2 for size in window)
    first = [torch.from_numpy(np.moveaxis(v, -1, -1 - len(window))) for v in (*x, h)]
    w, u = (
        torch.from_numpy(weights[f]).reshape(H, n, *window) for f, n in (("W", INPUT), ("U", H))
    )
    *steps, state = first
    outputs = []
    for now in steps:
        a = convolve(now, w, torch.from_numpy(weights["b"]), padding=edge)
        state = torch.tanh(a + convolve(state, u, padding=edge))
        outputs.append(np.moveaxis(state.numpy(), 1, -1))
    return np.stack(outputs)


@pytest.mark.parametrize(
    ("cell", "positions", "window"), [(IMAGE, (6, 7), (3, 5)), (LINE, (6,), (3,))]
)
def test_patches_and_a_matrix_are_a_convolution(
    cell: Cell, positions: tuple[int, ...], window: tuple[int, ...]
) -> None:
    weights, x, h = problem(cell, *positions)
    want = convolved(weights, x, h, window)
    np.testing.assert_allclose(run(cell, weights, x, h).output, want, rtol=1e-12, atol=1e-14)


def test_neighbours_are_a_product_over_the_positions() -> None:
    weights, x, h = problem(GRAPH, 6)
    both = MATRICES[1] @ MATRICES[0]
    result = run(GRAPH, weights, x, h, graph=MATRICES)
    for now, output in zip(x, result.output, strict=True):
        h = np.tanh(now @ weights["W"].T + both @ h @ weights["U"].T + weights["b"])
        np.testing.assert_allclose(output, h, rtol=1e-12, atol=1e-14)


def test_lengths_and_resets_are_of_rows_whatever_the_positions() -> None:
    weights, x, h = problem(LINE, 6)
    resets = np.zeros((TIME, BATCH), bool)
    resets[2, 1] = True
    result = run(LINE, weights, x, h, lengths=[4, 4, 1], resets=resets)
    assert (result.output[1:, 2] == 0).all()
    np.testing.assert_array_equal(result.state[0][2], result.output[0, 2])
    alone = run(LINE, weights, x[2:, 1:2]).output[:, 0]
    np.testing.assert_allclose(result.output[2:, 1], alone, rtol=1e-12)


def test_what_does_not_fit_is_refused_by_name() -> None:
    weights, x, _ = problem(GRAPH, 6)
    with pytest.raises(InputError, match=r"x must be .time, batch, position, input., got shape"):
        run(GRAPH, weights, x[..., 0], graph=MATRICES)
    with pytest.raises(InputError, match=r"cell graph reads a graph: give graph=, .* a list of 2"):
        run(GRAPH, weights, x)
    with pytest.raises(InputError, match="reads 2 matrices of a graph, got 1"):
        run(GRAPH, weights, x, graph=MATRICES[0])
    with pytest.raises(ShapeError, match="matrix 1 must have a row and a column for each of the 6"):
        run(GRAPH, weights, x, graph=[MATRICES[0], np.eye(5)])
    with pytest.raises(InputError, match="cell line reads no graph"):
        run(LINE, *problem(LINE, 6), graph=MATRICES)
