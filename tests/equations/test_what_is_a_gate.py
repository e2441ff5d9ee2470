"""What is a gate is said in one place, and every room asks there."""

from __future__ import annotations

import pytest

from cells import ALL_CELLS
from grus.dialects.activation import activated
from grus.equations import CELLS, Cell
from grus.equations.flat import gates
from grus.pictures import view

HARD = activated(CELLS["gru"], gates="hard_sigmoid")
GATES = {
    "gru": (CELLS["gru"], ("r", "z")),
    "hard gru": (HARD, ("r", "z")),
    "lstm": (CELLS["lstm"], ("i", "f", "o")),
    "rnn": (CELLS["rnn"], ()),
    "clipped": (ALL_CELLS["clipped_gru"], ("r", "z")),
    "bounds the other way round": (
        Cell.parse("z = maximum(0, minimum(W.z @ x + h, 1))\nh_next = z * h"),
        ("z",),
    ),
    "other bounds": (Cell.parse("z = minimum(maximum(W.z @ x + h, -1), 1)\nh_next = z * h"), ()),
    "one bound": (Cell.parse("z = minimum(W.z @ x + h, 1)\nh_next = z * h"), ()),
}


@pytest.mark.parametrize(("cell", "names"), GATES.values(), ids=GATES)
def test_a_cell_has_its_gates_everywhere(cell: Cell, names: tuple[str, ...]) -> None:
    assert gates(cell) == names
    values = [name for name, _ in cell.equations if not name.endswith("_next")]
    assert tuple(name for name in values if view.is_gate(cell, name)) == names


def test_the_page_offers_the_gates_of_a_hard_sigmoid_to_be_held() -> None:
    from grus.page.character_network import CharacterNetwork

    network = object.__new__(CharacterNetwork)
    object.__setattr__(network, "cell", HARD)
    assert network.gates == ("r", "z")
