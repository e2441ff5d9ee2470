"""Cells near other cells: every change is a cell, and what cannot learn is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from grus.equations import CELLS, Cell, cell as find_cell
from grus.kernels import make_plan
from grus.search import SEEDS, as_class, mutate, mutated, sound
from grus.search.mutations import LARGEST, LONGEST
from grus.zoo import PUBLISHED


def test_every_change_is_a_small_cell_that_kernels_run_and_text_reads_back() -> None:
    draw = Random(0)
    for start in SEEDS.values():
        cell = start
        for _ in range(60):
            changed = mutate(cell, draw)
            assert changed != cell
            assert len(changed) <= LONGEST
            assert len(changed.nodes) <= LARGEST
            assert not changed.shapes.equal
            make_plan(changed)
            assert Cell.parse(str(changed)) == changed
            cell = changed


def test_all_moves_happen_and_the_same_dice_give_the_same_cell() -> None:
    grown: Counter[str] = Counter()
    for seed in range(80):
        one, other = (mutate(CELLS["gru"], Random(seed)) for _ in range(2))
        assert one == other
        size = len(one.nodes) - len(CELLS["gru"].nodes)
        grown[
            "gate" if len(one) > 5 else "more" if size > 0 else "less" if size < 0 else "same"
        ] += 1
    assert set(grown) == {"gate", "more", "less", "same"}


@pytest.mark.parametrize(
    ("text", "good"),
    [
        *((str(cell), True) for cell in SEEDS.values()),
        ("h_next = tanh(W.h @ x + b.h)", False),  # no memory
        ("h_next = 3 * h + W.h @ x", False),  # explodes
        ("h_next = relu(W.h @ x) + h * h + U.h @ h", False),
        ("h_next = minimum(h, 0) * 0.5 + relu(W.a @ x)", False),  # forgets at once
    ],
)
def test_a_cell_is_sound_where_numbers_stay_finite_and_the_past_matters(
    text: str, good: bool
) -> None:
    assert sound(Cell.parse(text)) is good


def test_candidates_are_sound_and_differ() -> None:
    draw = Random(1)
    made = {mutated(CELLS["gru"], draw) for _ in range(20)}
    assert len(made) > 15
    assert all(map(sound, made))


@pytest.mark.parametrize("name", ["gru", "slstm", "mi_rnn", "antisymmetric_rnn", "dreamer_gru"])
def test_a_cell_written_as_a_class_is_the_cell(name: str, tmp_path: Path) -> None:
    file = tmp_path / "best.py"
    file.write_text(as_class(PUBLISHED[name].cell, "Best", "A cell."), "utf-8")
    assert find_cell(f"{file}:Best") == PUBLISHED[name].cell
