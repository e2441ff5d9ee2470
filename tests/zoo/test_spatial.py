"""Published cells over images and graphs: the numbers and gradients of steps written by hand.

The steps are the papers': gates convolved together over the concatenated input and state, dense
powers of a graph's matrices. A layer, the reference and the steps must agree in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import grus  # noqa: E402
from grus.equations import Cell  # noqa: E402
from grus.reference import run, split  # noqa: E402
from grus.zoo import PUBLISHED  # noqa: E402

pytestmark = pytest.mark.torch
Tensor = Any
Weights = dict[str, Tensor]
TIME, BATCH, INPUT, H = 3, 2, 3, 4
GRID = (5, 6)
NODES = 5
s = torch.sigmoid


def convolve(w: Weights, gates: str, x: Tensor, h: Tensor, *window: int) -> list[Tensor]:
    """The gates of one convolution over the channels of the input and of the state."""
    names = gates.split()
    kernels = [torch.cat([w[f"{f}.{g}"].reshape(H, -1, *window) for f in "WU"], 1) for g in names]
    bias = torch.cat([w[f"b.{g}"] for g in names])
    both, edges = torch.cat([x, h], 1), [size // 2 for size in window]
    result = torch.nn.functional.conv2d(both, torch.cat(kernels), bias, padding=edges)
    return list(result.chunk(len(names), 1))


def conv_gru(w: Weights, x: Tensor, states: tuple[Tensor, ...], _: Any) -> tuple[Tensor, ...]:
    (h,) = states
    r, z = convolve(w, "r z", x, h, 3, 3)
    (n,) = convolve(w, "n", x, s(r) * h, 3, 3)
    return (h + s(z) * (torch.tanh(n) - h),)


def sep_conv_gru(w: Weights, x: Tensor, states: tuple[Tensor, ...], _: Any) -> tuple[Tensor, ...]:
    (h,) = states
    for k, window in (1, (1, 5)), (2, (5, 1)):
        r, z = convolve(w, f"r{k} z{k}", x, h, *window)
        (n,) = convolve(w, f"n{k}", x, s(r) * h, *window)
        h = h + s(z) * (torch.tanh(n) - h)
    return (h,)


def conv_lstm(w: Weights, x: Tensor, states: tuple[Tensor, ...], _: Any) -> tuple[Tensor, ...]:
    h, c = states
    i, f, g, o = convolve(w, "i f g o", x, h, 3, 3)
    i, f, o = ((a, peephole(w, gate)) for a, gate in ((i, "i"), (f, "f"), (o, "o")))
    c_next = s(f[0] + f[1] * c) * c + s(i[0] + i[1] * c) * torch.tanh(g)
    return s(o[0] + o[1] * c_next) * torch.tanh(c_next), c_next


def peephole(w: Weights, gate: str) -> Tensor:
    """One for each channel, or none."""
    return w[f"p.{gate}"][:, None, None] if f"p.{gate}" in w else 0


def ggnn_gru(w: Weights, _: Any, states: tuple[Tensor, ...], graph: Any) -> tuple[Tensor, ...]:
    (h,) = states
    edges = torch.cat(graph, 1)  # [nodes, outgoing and incoming], the paper's A
    messages = torch.cat([h @ w[f"U.{way}"].T for way in ("to", "back")], 1)
    m = edges @ messages + w["b.m"]
    r, z = (s(m @ w[f"W.{g}"].T + h @ w[f"U.{g}"].T) for g in "rz")
    n = torch.tanh(m @ w["W.n"].T + (r * h) @ w["U.n"].T)
    return (h + z * (n - h),)


def dcgru(w: Weights, x: Tensor, states: tuple[Tensor, ...], graph: Any) -> tuple[Tensor, ...]:
    (h,) = states

    def diffused(gate: str, state: Tensor) -> Tensor:
        both = torch.cat([x, state], 2)
        total = w[f"b.{gate}"]
        for way, matrix in zip("fb", graph, strict=True):
            for k in (1, 2):
                name = f"{gate}{way}{'2' if k == 2 else ''}"
                weight = torch.cat([w[f"W.{name}"], w[f"U.{name}"]], 1)
                total = total + torch.linalg.matrix_power(matrix, k) @ both @ weight.T
        return total + both @ torch.cat([w[f"W.{gate}"], w[f"U.{gate}"]], 1).T

    r, z = s(diffused("r", h)), s(diffused("z", h))
    n = torch.tanh(diffused("n", r * h))
    return (n + z * (h - n),)


Step = Callable[[Weights, Any, tuple[Any, ...], Any], tuple[Any, ...]]
STEPS: dict[str, Step] = {
    "conv_gru": conv_gru,
    "sep_conv_gru": sep_conv_gru,
    "conv_lstm": conv_lstm,
    "conv_lstm_peephole": conv_lstm,
    "ggnn_gru": ggnn_gru,
    "dcgru": dcgru,
}


def walks() -> list[Any]:
    """Random walks along a graph's edges, and against them."""
    edges = torch.rand(NODES, NODES, dtype=torch.float64) * (torch.rand(NODES, NODES) < 0.6)
    edges += torch.eye(NODES)
    return [edges / edges.sum(1, keepdim=True), edges.T / edges.sum(0)[:, None]]


def layer_of(cell: Cell) -> Any:
    """A layer in float64, and its graph."""
    torch.manual_seed(7)
    where: dict[str, Any] = {"graph": walks()} if cell.matrices else {"grid": GRID}
    layer = grus.Recurrent(cell, INPUT, H, dtype=torch.float64, **where)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.7)
    return layer, where.get("graph")


def test_every_spatial_cell_is_compared() -> None:
    assert set(STEPS) == {name for name, known in PUBLISHED.items() if known.cell.gathers}


@pytest.mark.parametrize("name", STEPS)
def test_a_layer_is_the_step_of_its_paper_in_value_and_gradient(name: str) -> None:
    cell = PUBLISHED[name].cell
    layer, graph = layer_of(cell)
    places = (NODES,) if graph else GRID

    def draw(*lead: int, channels: int) -> Any:
        shape = (*lead, *places, channels) if graph else (*lead, channels, *places)
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    x = draw(TIME, BATCH, channels=INPUT)
    start = tuple(draw(1, BATCH, channels=H) for _ in cell.states)
    output, final = layer(x, start if len(start) > 1 else start[0])
    weights = {w.name: array for w, array in split(cell, layer.layer_weights(0)).items()}
    states, outputs = tuple(state[0] for state in start), []
    for now in x:
        states = STEPS[name](weights, now, states, graph)
        outputs.append(states[0])
    near = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(output, torch.stack(outputs), **near)
    finals = final if isinstance(final, tuple) else (final,)
    for ours, theirs in zip(finals, states, strict=True):
        torch.testing.assert_close(ours[0], theirs, **near)
    wanted = [*layer.parameters(), *start, *([x] if cell.inputs else [])]
    pull = torch.randn_like(output)
    ours = torch.autograd.grad(output, wanted, pull, retain_graph=True)
    theirs = torch.autograd.grad(torch.stack(outputs), wanted, pull)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **near)


@pytest.mark.parametrize("name", STEPS)
def test_the_reference_is_the_layer(name: str) -> None:
    cell = PUBLISHED[name].cell
    layer, graph = layer_of(cell)
    last = layer.positions.inside
    shape = (NODES, INPUT) if graph else (INPUT, *GRID)
    x = torch.randn(TIME, BATCH, *shape, dtype=torch.float64)
    lengths, resets = [TIME, 2], np.eye(TIME, BATCH, -1, dtype=bool)
    output, _ = layer(x, lengths=lengths, resets=resets)
    weights = {f: w.detach().numpy() for f, w in layer.layer_weights(0).items()}
    matrices = [m.numpy() for m in graph] if graph else None
    done = run(cell, weights, last(x).numpy(), lengths=lengths, resets=resets, graph=matrices)
    np.testing.assert_allclose(done.output, last(output).detach(), rtol=1e-10, atol=1e-12)
