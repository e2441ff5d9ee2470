"""Every cell that the tests run: one table, so that a new cell is tested everywhere at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pytest

from grus.dialects import Dialect
from grus.equations import (
    CELLS,
    Cell,
    U,
    V,
    W,
    b,
    c,
    clip,
    d,
    h,
    hard_sigmoid,
    maximum,
    mean,
    p,
    relu,
    sequence,
    sigmoid,
    sqrt,
    step,
    tanh,
    x,
)
from grus.zoo import PUBLISHED


class Mgu(Cell):
    """The minimal gated unit (Zhou et al. 2016): one gate does both jobs."""

    f = sigmoid(W.f @ x + U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n


class LayerNormGru(Cell):
    """A GRU whose candidate is normalised over the hidden axis, with a gain."""

    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    m = U.n @ h + d.n
    a = W.n @ x + b.n + r * m
    centred = a - mean(a)
    spread = sqrt(mean(centred * centred) + 1e-3)
    n = tanh(p.n * centred / spread)
    h_next = z * h + (1 - z) * n


class PeepholeLstm(Cell):
    """An LSTM whose gates also see the cell state, element by element (Gers et al. 2002)."""

    i = sigmoid(W.i @ x + U.i @ h + p.i * c + b.i)
    f = sigmoid(W.f @ x + U.f @ h + p.f * c + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    c_next = f * c + i * g
    o = sigmoid(W.o @ x + U.o @ h + p.o * c_next + b.o)
    h_next = o * tanh(c_next)


class Sru(Cell):
    """After the simple recurrent unit (Lei et al. 2018): no product of the state, x elementwise."""

    f = sigmoid(W.f @ x + p.f * c + b.f)
    r = sigmoid(W.r @ x + p.r * c + b.r)
    c_next = f * c + (1 - f) * (W.c @ x)
    y = r * c_next + (1 - r) * x


class ClippedGru(Cell):
    """Keras' hard sigmoid for the gates, and a state that is clipped."""

    r = hard_sigmoid(W.r @ x + U.r @ h + b.r)
    z = hard_sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(clip(W.n @ x + U.n @ (r * h) + b.n, 2.0))
    h_next = clip(z * h + (1 - z) * n, 0.5)


class Zoneout(Cell):
    """A plain RNN that keeps masked units (Krueger et al. 2016) and drops out its state's use."""

    n = tanh(W.h @ x + U.h @ (sequence.drop * h) + b.h)
    h_next = step.keep * h + (1 - step.keep) * n


class Odd(Cell):
    """Divisions, a quotient of means, relu, maximum, minus signs: what no real cell has at once."""

    s = sqrt(1 + h * h)
    q = -(W.q @ x) / s - (-h)
    k = mean(q * q) / (1 + mean(s))
    e = maximum(q, U.e @ (relu(q) - h)) * k
    h_next = tanh(e - 0.5 * h) / 2


ALL_CELLS: dict[str, Cell] = {
    **CELLS,
    **{
        cell.name: cell
        for cell in cast(
            "tuple[Cell, ...]",
            (
                *(Mgu, LayerNormGru, PeepholeLstm),
                *(Sru, ClippedGru, Zoneout, Odd),
            ),
        )
    },
}


class Clocked(Cell):
    """A gate that only sees a time of several numbers, which nothing else is as long as."""

    g = sigmoid(V.g @ step.when + d.g)
    n = tanh(W.n @ x + U.n @ h + b.n)
    h_next = (1 - g) * h + g * n


FURTHER_CELLS: dict[str, Cell] = {
    "clocked": cast("Cell", Clocked),
    **{name: PUBLISHED[name].cell for name in ("gru_d", "augru", "time_aware_lstm")},
}
"""Cells that read more than x at each step."""

every_cell: Callable[..., Any] = pytest.mark.parametrize(
    "cell", [pytest.param(cell, id=name) for name, cell in ALL_CELLS.items()]
)

Arrays = dict[str, np.ndarray]


def sizes(cell: Cell, inputs: int = 3, hidden: int = 4, projection: int = 2) -> dict[str, int]:
    """The size of each axis, in whole blocks; a cell that uses x elementwise gets as many inputs as
    hidden."""
    asked = {"input": inputs, "hidden": hidden, "projection": projection}
    blocks = max(cell.shapes.blocks.values(), default=1)
    asked = {axis: -(-size // blocks) * blocks for axis, size in asked.items()}
    asked |= {axis: 2 for axis in cell.shapes.inputs.values() if axis.startswith("step.")}
    return asked | {one: asked[other] for one, other in cell.shapes.equal}


def draw_weights(cell: Cell, size: Mapping[str, int], rng: np.random.Generator) -> Arrays:
    """Weights by family, none of them zero, of a size that keeps every function off its ends."""
    return {
        family: rng.normal(0.0, 0.6, cell.family_shape(family, dict(size)))
        for family in cell.families
    }


def draw_states(
    cell: Cell, size: Mapping[str, int], batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Initial states, each [batch, axis]."""
    return tuple(rng.normal(0.0, 0.5, (batch, size[cell.shapes.states[s]])) for s in cell.states)


def draw_masks(
    cell: Cell, size: Mapping[str, int], steps: int, batch: int, rng: np.random.Generator
) -> Arrays:
    """The cell's inputs beside x, zeros and ones, per step or per sequence; those that an exponent
    or a logarithm reads are between."""
    masks = {}
    for i in cell.inputs:
        if i.name != "x":
            lead = (batch,) if i.per == "sequence" else (steps, batch)
            shape = (*lead, size[cell.shapes.inputs[i]] if i in cell.shapes.inputs else 1)
            masks[i.name] = rng.integers(0, 2, shape).astype(float)
            if i.name in ("delta", "when", "attention"):
                masks[i.name] = rng.uniform(0.1, 1.0, shape)
    return masks


def draw_tensors(dialect: Dialect, layers: int, directions: int, seed: int = 0) -> Arrays:
    """Random tensors of a network by the dialect's names, no bias of them zero."""
    rng = np.random.default_rng(seed)
    found: Arrays = {}
    for k in range(layers):
        width = 3 if k == 0 else directions * 4
        for side in range(directions):
            for tensor in dialect.tensors:
                shape = tensor.shape(4, width, dialect.columns)
                name = dialect.scheme.name(tensor.name, (k, side), layers, directions)
                if not dialect.scheme.axis:
                    found[name] = rng.normal(size=shape)
                elif side == 0:
                    found[name] = rng.normal(size=(directions, *shape))
    return found
