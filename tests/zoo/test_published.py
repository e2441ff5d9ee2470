"""Published cells: what each record holds, the numbers it gives, its structure, its page."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_steps import STEPS
from timed_steps import TIMED

from agreement import Sizes, draw
from grus.equations import CELLS, Cell, structure
from grus.reference import run, split
from grus.zoo import PUBLISHED, Draw, classic
from grus.zoo.record import published
from torchrecurrent_cells import THEIRS

LONGER = {"dreamer_block_gru": 12, "dreamer_gru": 10, "gru_d": 10, "dcgru": 10, "rwkv": 9}
"""Cells whose papers need more than eight lines."""
SPATIAL = {name for name, known in PUBLISHED.items() if known.cell.gathers}
"""Compared in test_spatial, which needs torch; the kernels run none of them."""
DOCS = Path(__file__).parents[2] / "docs"


def sizes(cell: Cell) -> Sizes:
    """Time, batch, input, hidden: odd ones, of one size where the equations ask for it."""
    return (4, 3, 5 if cell.shapes.equal else 3, 5)


def drawn(cell: Cell) -> Any:
    return draw(cell, sizes(cell), "float64")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_record_says_where_a_cell_comes_from_in_few_lines(name: str) -> None:
    known = PUBLISHED[name]
    assert len(known.cell) <= LONGER.get(name, 8)
    assert 1990 <= known.year <= 2026
    assert known.paper
    assert known.read_in
    assert known.special.endswith(".")
    assert Cell.parse(str(known.cell)) == known.cell


def test_every_published_cell_is_compared_with_somebody_elses_numbers() -> None:
    by_hand = set(STEPS) | set(TIMED) | set(SPATIAL)
    assert set(PUBLISHED) == set(CELLS) | by_hand | set(THEIRS)
    assert not by_hand & set(THEIRS)
    assert len(PUBLISHED) >= 60


@pytest.mark.parametrize("name", STEPS)
def test_a_cell_is_the_step_of_its_paper(name: str) -> None:
    problem = drawn(PUBLISHED[name].cell)
    cell, states = problem.cell, problem.start
    if name == "slstm":  # a count of what was let in is above 0
        states = (*states[:3], np.abs(states[3]) + 0.5)
    result = run(cell, problem.weights, problem.x, states if len(states) > 1 else states[0])
    single = {w.name: array for w, array in split(cell, problem.weights).items()}
    for x, output in zip(problem.x, result.output, strict=True):
        want, states = STEPS[name](single, x, states)
        np.testing.assert_allclose(output, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", TIMED)
def test_a_cell_that_reads_more_than_x_is_the_step_of_its_paper(name: str) -> None:
    problem = drawn(PUBLISHED[name].cell)
    inputs, states = problem.inputs, problem.start
    x, masks = inputs["x"], {n: value for n, value in inputs.items() if n != "x"}
    result = run(problem.cell, problem.weights, x, states, masks=masks)
    single = {w.name: array for w, array in split(problem.cell, problem.weights).items()}
    for t, output in enumerate(result.output):
        now = {n: value[t] for n, value in masks.items()}
        want, states = TIMED[name](single, x[t], states, now)
        np.testing.assert_allclose(output, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "jacobian", "affine", "why"),
    [
        ("h_next = sigmoid(W.z @ x) * h + W.h @ x", "diagonal", True, ""),
        ("h_next = h / (1 + exp(W.z @ x))", "diagonal", True, ""),
        ("h_next = (W.z @ x) / h", "diagonal", False, "W.z @ x / h in h_next"),
        ("h_next = h * h + W.h @ x", "diagonal", False, "h * h in h_next"),
        ("h_next = U.h @ h + W.h @ x", "dense", True, ""),
        ("h_next = h - mean(h) + W.h @ x", "dense", True, ""),
        ("z = tanh(h)\nh_next = z * h + W.h @ x", "diagonal", False, "tanh(h) in z"),
        ("h_next = p.h * h + W.h @ x\ny = tanh(U.y @ h_next)", "diagonal", True, ""),
    ],
)
def test_the_structure_is_found_from_the_equations(
    text: str, jacobian: str, affine: bool, why: str
) -> None:
    of = structure(Cell.parse(text))
    assert (of.jacobian, of.affine, of.bends) == (jacobian, affine, why)
    assert of.scan == (affine and jacobian == "diagonal")
    assert ("a sequence is a scan" in str(of)) == of.scan


SCANS = {"qrnn", "min_gru", "min_lstm", "hgrn", "rg_lru", "trnn", "gilr"}
APART = {"unicornn", "ind_rnn", "indy_gru", "indy_lstm", "sru", "para_gru", "lrn", "brc"}


def test_which_published_cells_are_scans_and_whose_units_stand_apart() -> None:
    kinds = {name: structure(known.cell) for name, known in PUBLISHED.items()}
    assert {name for name, of in kinds.items() if of.scan} == SCANS
    diagonal = {name for name, of in kinds.items() if of.jacobian == "diagonal"}
    assert diagonal == SCANS | APART | {"lstm_elementwise"}


@pytest.mark.parametrize("name", [*sorted(SCANS | APART), "gru", "lstm"])
def test_the_jacobian_is_as_the_structure_says(name: str) -> None:
    """A change of one unit's states reaches other units' next states, or does not."""
    problem = drawn(PUBLISHED[name].cell)
    cell, x = problem.cell, problem.x[:1]
    moved = tuple(h + 0.25 * (np.arange(h.shape[1]) == 2) for h in problem.start)
    ends = [
        run(cell, problem.weights, x, h if len(h) > 1 else h[0]) for h in (problem.start, moved)
    ]
    for before, after in zip(*(end.state for end in ends), strict=True):
        others = np.abs(after - before)[:, np.arange(before.shape[1]) != 2]
        assert others.any() == (structure(cell).jacobian == "dense")


def test_a_second_cell_of_a_name_and_a_start_of_no_weight_are_refused() -> None:
    cell = Cell.parse("h_next = tanh(W.h @ x + b.h)", "one_of_its_own")
    for wrong, initial in ((PUBLISHED["gru"].cell, None), (cell, {"b.z": 1.0})):
        with pytest.raises(ValueError, match="second cell of that name, or an unknown weight"):
            published(2020, "A paper", "its equations", initial)(wrong)
    assert "one_of_its_own" not in PUBLISHED
    assert sum(len(known.starts) > 0 for known in PUBLISHED.values()) == 15
    with pytest.raises(ValueError, match="uniform takes low, high"):
        Draw("uniform", (1.0,))
    assert classic.CHO in {known.paper for known in PUBLISHED.values()}


def test_the_page_and_its_diagrams_are_those_of_the_records() -> None:
    """`python docs/published_cells.py` makes them anew."""
    sys.path.insert(0, str(DOCS))
    try:
        files = import_module("published_cells").files()
    finally:
        sys.path.remove(str(DOCS))
    made = dict(files)
    assert set((DOCS / "cells").iterdir()) == set(made) - {DOCS / "cells.md"}
    for path, text in made.items():
        assert path.read_text("utf-8") == text, path.name
