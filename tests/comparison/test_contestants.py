"""Which cells take part, how large they are made, with what gate biases they begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from grus.comparison.contestants import (
    Contestant,
    Stack,
    contestants,
    first_size,
    match_params,
    match_time,
    remembering,
    step_cost,
)
from grus.comparison.courses import TaskCourse
from grus.equations import CELLS, Cell
from grus.errors import InputError
from grus.models.memory_tasks import Adding
from grus.models.settings import Settings

OWN = """
from grus.equations import Cell, U, W, b, h, sigmoid, tanh, x

class Minimal(Cell):
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h_next = (1 - f) * h + f * n
"""


def test_cells_are_names_and_files_and_held_cells_with_commas_between(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    asked = f"rnn, gru[r=1,z=0],{tmp_path}/own.py:Minimal"
    found = contestants(asked, [], 0.0, 8)
    assert [one.name for one in found] == ["rnn", "gru[r=1,z=0]", f"{tmp_path}/own.py:Minimal"]
    assert [len(one.cell.equations) for one in found][::2] == [1, 3]


@pytest.mark.parametrize("cells", ["", ",", "gru,rnn,gru"])
def test_cells_are_named_each_once(cells: str) -> None:
    with pytest.raises(InputError, match="each once"):
        contestants(cells, [], 0.0, 8)


@pytest.mark.parametrize(
    ("name", "biases"),
    [
        ("gru", {"z": 3.0}),
        ("gru_admit", {"z": -3.0}),
        ("gru_reset_before", {"z": 3.0}),
        ("lstm", {"f": 3.0, "i": -3.0}),
        ("rnn", {}),
        ("gru[z=0.5]", {}),
    ],
)
def test_the_gates_that_keep_the_state_are_found(name: str, biases: dict[str, float]) -> None:
    assert contestants(name, [], 3.0, 8)[0].gate_bias == biases


def test_no_memory_asked_for_is_no_bias() -> None:
    assert all(remembering(cell, 0.0) == {} for cell in CELLS.values())


def test_a_gate_bias_goes_to_the_cells_that_have_the_gate_or_to_one() -> None:
    found = contestants("rnn,gru,gru_admit,lstm", ["z=1", "lstm:f=2", "gru_admit:z=-1"], 9.0, 8)
    assert [one.gate_bias for one in found] == [{}, {"z": 1.0}, {"z": -1.0}, {"f": 2.0}]
    assert contestants("gru", ["none"], 9.0, 8)[0].gate_bias == {}


@pytest.mark.parametrize("text", ["z", "z=much", "=1", "q=1", "rnn:z=1", "lstm:z=1", "z=nan"])
def test_a_gate_bias_that_no_cell_can_have_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--gate-bias"):
        contestants("rnn,gru", [text], 0.0, 8)


@pytest.mark.parametrize("hidden", [8, 32, 128])
def test_matched_cells_have_about_the_same_parameters(hidden: int) -> None:
    """Within half of what one unit more adds, which is what the nearest size means."""
    course = TaskCourse(Adding(10), Settings(steps=1))
    found = match_params(contestants("rnn,gru,lstm", [], 0.0, hidden), course.parameters)
    counts = {one.name: course.parameters(one.cell, one.hidden) for one in found}
    assert found[2].hidden == hidden
    for one in found:
        more = course.parameters(one.cell, one.hidden + 1) - counts[one.name]
        assert abs(counts[one.name] - counts["lstm"]) <= more / 2
    unmatched = [course.parameters(CELLS[name], hidden) for name in ("rnn", "lstm")]
    assert unmatched[0] < 0.4 * unmatched[1]


def test_matched_times_are_found_by_measuring() -> None:
    """A clock of our own: a unit of lstm takes four times as long as one of rnn."""
    slow = {"rnn": 1.0, "gru": 3.0, "lstm": 4.0}
    found = match_time(
        contestants("rnn,gru,lstm", [], 0.0, 60), lambda one: slow[one.name] * one.hidden
    )
    assert {one.name: one.hidden for one in found} == {"rnn": 236, "gru": 76, "lstm": 60}
    for one in found:
        assert slow[one.name] * one.hidden <= 240 <= slow[one.name] * (one.hidden + 4)


def test_a_cell_of_blocks_is_matched_in_whole_blocks() -> None:
    text = "h_next = tanh(W.n @ x + U.n @ blocks(h, 6) + b.n)"
    every = [Contestant("gru", CELLS["gru"], 30), Contestant("blocks", Cell.parse(text), 30)]
    course = TaskCourse(Adding(10), Settings(steps=1))
    size = match_params(every, course.parameters)[1].hidden
    want, *near = (
        course.parameters(cell, hidden)
        for cell, hidden in [(CELLS["gru"], 30), *((every[1].cell, size + k) for k in (0, -6, 6))]
    )
    assert size % 6 == 0
    assert abs(near[0] - want) == min(abs(count - want) for count in near)
    slow = {"gru": 3.0, "blocks": 1.0}
    assert match_time(every, lambda one: slow[one.name] * one.hidden)[1].hidden == 30 + 4 * 12


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, 64, 1000])
def test_the_first_size_that_is_enough_is_found(wanted: int) -> None:
    for low in (1, 2, 3, 7):
        assert first_size(lambda size: size >= wanted, low) == max(wanted, low)


def test_a_size_that_is_never_enough_is_refused() -> None:
    with pytest.raises(InputError, match="no hidden size"):
        first_size(lambda size: False, 1)


@pytest.mark.parametrize("connect", ["", "residual", "highway", "dense"])
def test_work_of_a_stack_is_that_of_its_layers(connect: str) -> None:
    """A sum is H operations forward; a highway has H H more weights, a dense layer reads more."""
    gru, stack = Contestant("gru", CELLS["gru"], 6), Stack(3, connect)
    course = TaskCourse(Adding(10), Settings(steps=1), stack)
    assert course.title == f"adding, lag 10, 3 {connect or 'plain'} layers"
    plain = [step_cost(gru, inputs, 1, 1, k > 0) for k, inputs in enumerate((2, 6, 6))]
    more = step_cost(gru, 2, 1, 1, False, stack).operations - sum(p.operations for p in plain)
    if connect == "dense":  # layers 1 and 2 read 2 and 8 numbers more, forward, backward, by x
        assert more >= 3 * 2 * 3 * 6 * (2 + 8) - 6
    else:
        assert (more == 0) == (connect == "")
        assert more >= {"": 0, "residual": 2 * 6, "highway": 2 * 2 * 6 * 6}[connect]
    counted = course.parameters(CELLS["gru"], 6)
    weights = 3 * 3 * 6 * (6 + 2) + 3 * 6 * (2 + 6 + 6) + 7
    weights += {"highway": 2 * 6 * 7, "dense": 3 * 6 * (2 + 8)}.get(connect, 0)
    assert counted == weights


def test_work_is_that_of_all_steps_and_rows() -> None:
    """rnn by hand: 2 H I + 2 H H for products, 2 H sums, H tanh forward; its output is kept."""
    rnn = Contestant("rnn", CELLS["rnn"], 5)
    one, many = step_cost(rnn, 2, 1, 1, False), step_cost(rnn, 2, 7, 3, False)
    assert (many.operations, many.saved) == (21 * one.operations, 21 * one.saved)
    assert one.operations > 2 * 5 * 2 + 2 * 5 * 5 + 3 * 5
    assert step_cost(rnn, 2, 1, 1, True).operations == one.operations + 2 * 5 * 2
    assert step_cost(
        replace(rnn, cell=Cell.parse(str(CELLS["gru"]), "gru")), 2, 1, 1, False
    ).saved > (one.saved)
