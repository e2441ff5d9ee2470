"""Proofs by signs: ranges hold every value of every cell, and prove what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import cells
from grus.equations import CELLS, Cell, Weight
from grus.identification.given import Example
from grus.identification.hypotheses import Weighted
from grus.identification.signs import RANGES, Range, impossible
from grus.identification.variants import variants
from grus.reference import NUMPY, run, split

GRU = CELLS["gru"]
POSTED = {
    "W": np.array([[1.0425225], [-0.90954137], [-0.04404902]]),
    "U": np.array([[0.8981342], [0.24168766], [0.36734456]]),
    "b": np.zeros(3),
    "d": np.zeros(1),
}
X = np.array([1.0, 2.0, 9.0, 8.0]).reshape(4, 1, 1)


def function(cell: Cell, weights: dict[str, np.ndarray]) -> Weighted:
    single = split(cell, weights)
    return Weighted(cell, dict(single), single[Weight("U", cell.families["U"][0])].shape[0], 1)


def view(y: float, x: np.ndarray = X) -> Example:
    return Example(x, np.array([[y]]), None, "")


def test_the_posted_output_is_excluded_with_the_reasons() -> None:
    proof = impossible(function(GRU, POSTED), view(0.968), 1e-6)
    assert proof is not None
    assert proof.high == 0
    assert [line.rsplit(", so ", 1)[-1].rsplit(": ", 1)[-1] for line in proof.lines] == [
        "r in [0, 1]",
        "z in [0, 1]",
        "m <= 0",
        "n <= 0",
        "h_next <= 0",
        "h <= 0 for ever",
    ]


@pytest.mark.parametrize(("family", "at"), [("W", (2, 0)), ("U", (2, 0)), ("b", 2), ("d", 0)])
def test_one_sign_changed_and_nothing_is_proven(family: str, at: int | tuple[int, int]) -> None:
    """The break: with W.n or b.n positive, or d.n, or U.n negative, some h is positive."""
    changed = {name: array.copy() for name, array in POSTED.items()}
    changed[family][at] = -1.0 if family == "U" else 1.0
    assert impossible(function(GRU, changed), view(0.968), 1e-6) is None


def test_what_the_range_holds_is_not_excluded() -> None:
    right = function(GRU, POSTED)
    assert impossible(right, view(-0.968), 1e-6) is None
    assert impossible(right, view(1e-7), 1e-6) is None  # within the tolerance of 0
    backward = replace(view(0.968), x=-X)
    assert impossible(right, backward, 1e-6) is None


@pytest.mark.parametrize("name", sorted(RANGES))
def test_every_operators_range_holds_its_values(name: str) -> None:
    rng = np.random.default_rng(21)
    apply, ranges = NUMPY.table[name], RANGES[name]
    arity = 2 if name in ("add", "sub", "mul", "div", "minimum", "maximum", "matmul") else 1
    for _ in range(200):
        low, high = np.sort(rng.choice([-2.0, -1.0, -0.3, 0.0, 0.4, 1.0, 3.0], (2, arity, 3)), 0)
        made = [Range.of(a, b) for a, b in zip(low, high, strict=True)]
        values = list(low + (high - low) * rng.random((arity, 3)))
        if name == "matmul":
            made[0] = Range(made[0].low[None], made[0].high[None])
            values[0] = values[0][None]
        if name == "div":
            values[1] = np.where(np.abs(values[1]) < 0.1, 0.1, values[1])
            made[1] = Range.of(np.minimum(low[1], values[1]), np.maximum(high[1], values[1]))
        found, value = ranges(*made), apply(*values)
        assert np.all(found.low <= value)
        assert np.all(value <= found.high)


@pytest.mark.parametrize("gates", [frozenset("rzn"), frozenset("ifgo"), frozenset("h")])
def test_no_value_that_occurs_is_ever_excluded(gates: frozenset[str]) -> None:
    """Weights of one sign, so that there is much to prove; y is what comes out."""
    rng = np.random.default_rng(22)
    proven = 0
    for variant in variants(gates):
        cell = variant.cell
        for _ in range(3):
            size = {"hidden": 2, "input": 1}
            weights = {
                f: rng.choice((-1, 1)) * rng.random(cell.family_shape(f, size))
                for f in cell.families
            }
            x = rng.choice((-1, 1)) * rng.random((3, 1, 1))
            y = run(cell, weights, x).output[-1]
            if not np.isfinite(y).all():
                continue
            single = dict(split(cell, weights))
            right = Weighted(cell, single, 2, 1)
            assert impossible(right, Example(x, y, None, ""), 1e-12) is None, variant.said
            proven += impossible(right, Example(x, -y, None, ""), 1e-12) is not None
    assert proven > 0  # the other sign is excluded sometimes: the check can fail


def test_a_cell_outside_the_table_has_ranges_too() -> None:
    cell = cells.ALL_CELLS["mgu"]
    weights = {f: np.abs(w) for f, w in _drawn(cell).items()}
    right = Weighted(cell, dict(split(cell, weights)), 1, 1)
    assert impossible(right, view(-0.5), 1e-9) is not None
    assert impossible(right, view(0.5), 1e-9) is None


def _drawn(cell: Cell) -> dict[str, np.ndarray]:
    size = cells.sizes(cell, 1, 1)
    return dict(cells.draw_weights(cell, size, np.random.default_rng(23)))
