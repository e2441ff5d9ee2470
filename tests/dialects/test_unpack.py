"""Packed tensors into weights by family: shapes, flat lists, biases, and what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cells
from grus.dialects import SECOND, Layout, unpack
from grus.dialects.dialect import INNER, JOINED, ONE, ROWS, TWO
from grus.equations import CELLS, Cell
from grus.errors import InputError
from grus.reference import split

GRU, RNN = CELLS["gru"], CELLS["rnn"]
ZRN, RZN = ("z", "r", "n"), ("r", "z", "n")
INPUT, HIDDEN = 2, 3


def numbered(*shape: int) -> np.ndarray:
    """1, 2, 3, ... so that every number tells where it was."""
    return np.arange(1.0, 1 + np.prod(shape)).reshape(shape)


def tensors(side: str = "rows", **others: np.ndarray) -> dict[str, np.ndarray]:
    w, u = numbered(9, INPUT), 100 + numbered(9, HIDDEN)
    found = {"W": w, "U": u} if side == "rows" else {"W": w.T, "U": u.T}
    return found | others


@pytest.mark.parametrize("cell", cells.ALL_CELLS.values(), ids=cells.ALL_CELLS)
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_unpacking_undoes_packing_for_every_cell(cell: Cell, side: Any) -> None:
    rng = np.random.default_rng(0)
    size = cells.sizes(cell)
    weights = cells.draw_weights(cell, size, rng)
    order = tuple(reversed(dict.fromkeys(w.gate for w in cell.weights)))
    single = split(cell, weights)
    packed = {}
    for family, gates in cell.families.items():
        blocks = [single[w] for g in order for w in single if (w.family, w.gate) == (family, g)]
        stacked = np.concatenate(blocks)
        assert len(blocks) == len(gates)
        packed[SECOND if family == "d" else family] = stacked.T if side == "columns" else stacked
    read = unpack(cell, Layout(order, side), packed)
    assert read.weights.keys() == weights.keys()
    assert all(np.array_equal(read.weights[f], weights[f]) for f in weights)
    assert {axis: size[axis] for axis in read.sizes} == read.sizes


def test_blocks_are_put_in_the_order_of_the_equations() -> None:
    read = unpack(GRU, Layout(ZRN, "rows"), tensors())
    assert np.array_equal(read.weights["W"][:, 0], [7, 9, 11, 1, 3, 5, 13, 15, 17])
    assert not read.weights["b"].any()
    assert not read.weights["d"].any()
    assert read.biases == 0


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_without_a_side_the_shapes_tell(side: str) -> None:
    told = unpack(GRU, Layout(ZRN), tensors(side))
    assert told.gates_in == side
    assert np.array_equal(
        told.weights["W"], unpack(GRU, Layout(ZRN, "rows"), tensors()).weights["W"]
    )


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_flat_lists_are_the_same_numbers_in_the_tensors_own_order(side: Any) -> None:
    whole = tensors(side)
    flat = {key: np.ravel(value) for key, value in whole.items()}
    one, other = (unpack(GRU, Layout(ZRN, side), given) for given in (whole, flat))
    assert one.sizes == other.sizes
    assert all(np.array_equal(one.weights[f], other.weights[f]) for f in one.weights)


def test_flat_lists_of_one_unit_and_feature_need_no_side() -> None:
    read = unpack(GRU, Layout(ZRN), {"W": numbered(3), "U": numbered(3)})
    assert np.array_equal(read.weights["W"], [[2], [1], [3]])


@pytest.mark.parametrize(
    ("cell", "given"),
    [
        (RNN, {"W": numbered(2, 2), "U": numbered(2, 2)}),
        (GRU, {"W": numbered(6), "U": numbered(3)}),
    ],
)
def test_where_the_shapes_do_not_tell_the_side_it_is_asked_for(cell: Cell, given: Any) -> None:
    order = cell.families["W"]
    with pytest.raises(InputError, match=r"do not tell .* say --gates-in rows or"):
        unpack(cell, Layout(order), given)
    rows = unpack(cell, Layout(order, "rows"), given).weights["W"]
    columns = unpack(cell, Layout(order, "columns"), given).weights["W"]
    assert not np.array_equal(rows, columns)


def test_single_gates_need_no_order() -> None:
    single = {f"{f}.{g}": np.array([float(k)]) for k, (f, g) in enumerate(
        (f, g) for f in "WU" for g in "nrz"
    )}  # fmt: skip
    read = unpack(GRU, Layout(), single | {"b.z": np.array([7.0]), "d.n": np.array([9.0])})
    assert np.array_equal(read.weights["W"][:, 0], [1, 2, 0])
    assert np.array_equal(read.weights["b"], [0, 7, 0])
    assert np.array_equal(read.weights["d"], [9])


B1, B2, NONE = 10.0 * numbered(9), 1000.0 * numbered(9), np.zeros(9)
INNER_ALONE = np.where(np.arange(9) < 6, 0, B2)
BIASES = {
    # the form, what is given, the first bias and the second in the order z, r, n
    "torch": (TWO, {"b": B1, SECOND: B2}, B1, B2),
    "keras": (ROWS, {"b": np.stack([B1, B2])}, B1, B2),
    "keras in two": (ROWS, {"b": B1, SECOND: B2}, B1, B2),
    "onnx": (JOINED, {"b": np.concatenate([B1, B2])}, B1, B2),
    "onnx with a direction": (JOINED, {"b": np.concatenate([B1, B2])[None]}, B1, B2),
    "equinox": (INNER, {"b": B1, SECOND: B2[6:]}, B1, INNER_ALONE),
    "one": (ONE, {"b": B1}, B1, NONE),
    "the first of two rows": (ROWS, {"b": B1[None]}, B1, NONE),
    "the second alone": (TWO, {SECOND: B2}, NONE, B2),
    "not said: all gates": (None, {"b": B1, SECOND: B2}, B1, B2),
    "not said: inner": (None, {"b": B1, SECOND: B2[6:]}, B1, INNER_ALONE),
    "a row a gate": (ONE, {"b": B1.reshape(3, 3)}, B1, NONE),
}


@pytest.mark.parametrize(("form", "given", "first", "second"), BIASES.values(), ids=BIASES)
def test_the_second_bias_is_inside_for_n_and_added_for_the_gates(
    form: Any, given: Any, first: np.ndarray, second: np.ndarray
) -> None:
    read = unpack(GRU, Layout(ZRN, "rows", form), tensors() | given)
    (z1, r1, n1), (z2, r2, n2) = np.split(first, 3), np.split(second, 3)
    assert np.array_equal(read.weights["b"], [*(r1 + r2), *(z1 + z2), *n1])
    assert np.array_equal(read.weights["d"], n2)
    assert read.biases == (first is not NONE) + (second is not NONE)


def test_a_cell_without_an_inner_bias_gets_the_sum() -> None:
    before = CELLS["gru_reset_before"]
    read = unpack(before, Layout(RZN, "rows", TWO), tensors(**{"b": B1, SECOND: B2}))
    assert np.array_equal(read.weights["b"], B1 + B2)


WRONG: dict[str, tuple[Layout, dict[str, np.ndarray], str]] = {
    "no U": (Layout(ZRN), {"W": numbered(3)}, "needs the weights U too"),
    "no W.n": (
        Layout((), "rows"),
        {"W.r": numbered(1), "W.z": numbered(1), "U": numbered(3)},
        r"U stacks the gates r, z, n of cell gru, but the order \(none\) has no r",
    ),
    "one gate missing": (
        Layout(ZRN, "rows"),
        {"W.r": numbered(1), "W.z": numbered(1), "U": numbered(3)},
        r"needs the weights W\.n too",
    ),
    "unknown": (Layout(ZRN), tensors(V=numbered(3)), "no weight V; it has W.r, U.r"),
    "unknown gate": (Layout(ZRN), tensors(**{"W.q": numbered(3)}), "no weight W.q"),
    "twice": (Layout(ZRN, "rows"), tensors(**{"W.z": numbered(3, 2)}), "W.z is given twice"),
    "bias twice": (
        Layout(ZRN, "rows"),
        tensors(**{"b": B1, "b.z": numbered(3)}),
        "b.z is given twice",
    ),
    "order incomplete": (Layout(("z", "r")), tensors(), "the order z r has no n"),
    "order of others": (Layout(("z", "r", "q")), tensors(), "order: cell gru has no gate q"),
    "order doubled": (Layout(("z", "r", "n", "r")), tensors(), "gate r stands twice in z r n r"),
    "U not square": (
        Layout(ZRN, "rows"),
        {"W": numbered(3), "U": numbered(4)},
        "U has 4 numbers, which are not 3 square blocks",
    ),
    "other side": (
        Layout(ZRN, "columns"),
        tensors("rows"),
        r"W of shape \(9, 2\) does not hold 3 gates of one size in its columns",
    ),
    "neither side": (
        Layout(ZRN),
        {"W": numbered(4, 2), "U": numbered(9, 3)},
        "with the gates in the rows, W of shape .*; with the gates in the columns, W of",
    ),
    "two sizes": (
        Layout(ZRN, "rows"),
        {"W": numbered(6, 2), "U": numbered(9, 3)},
        "U of shape .* makes the hidden size 3, another weight makes it 2",
    ),
    "too many axes": (
        Layout(ZRN, "rows"),
        {"W": numbered(2, 9, 2), "U": numbered(9, 3)},
        r"W has shape \(2, 9, 2\); it takes at most two axes",
    ),
    "bias too short": (
        Layout(ZRN, "rows", ONE),
        tensors(b=numbered(8)),
        r"the bias b has 8 numbers, wanted 3 x 3 \(z, r, n\)$",
    ),
    "bias of neither": (
        Layout(ZRN, "rows", ROWS),
        tensors(b=numbered(8)),
        "wanted 3 x 3 .*, or two rows of that",
    ),
    "bias the wrong way round": (
        Layout(ZRN, "rows", ROWS),
        tensors(b=numbered(9, 2)),
        r"the bias b has shape \(9, 2\)",
    ),
    "bias of other rows": (
        Layout(("h",), "rows", ONE),
        {"W": numbered(6, 1), "U": numbered(6, 6), "b": numbered(2, 3)},
        r"the bias b has shape \(2, 3\)",
    ),
    "no second bias": (
        Layout(ZRN, "rows", ONE),
        tensors(**{"b": B1, SECOND: B2}),
        "this layout has one bias",
    ),
    "second bias twice": (
        Layout(ZRN, "rows", ROWS),
        tensors(**{"b": np.stack([B1, B2]), SECOND: B2}),
        "b already holds both",
    ),
    "second bias of other length": (
        Layout(ZRN, "rows"),
        tensors(**{SECOND: numbered(4)}),
        r"second bias has 4 numbers, wanted 3 x 3 \(z, r, n\) or 1 x 3 \(n\)",
    ),
    "inner bias of all gates": (
        Layout(ZRN, "rows", INNER),
        tensors(**{SECOND: B2}),
        r"second bias has 9 numbers, wanted 1 x 3 \(n\)",
    ),
}


@pytest.mark.parametrize(("layout", "given", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_says_why(
    layout: Layout, given: dict[str, np.ndarray], message: str
) -> None:
    cell = RNN if layout.order == ("h",) else GRU
    with pytest.raises(InputError, match=message):
        unpack(cell, layout, given)


def test_a_cell_without_biases_takes_none() -> None:
    bare = Cell.parse("h_next = tanh(W.h @ x + U.h @ h)", "bare")
    given = {"W": numbered(1), "U": numbered(1)}
    assert set(unpack(bare, Layout(("h",)), given).weights) == {"W", "U"}
    for key in ("b", SECOND):
        with pytest.raises(InputError, match="cell bare has no such bias"):
            unpack(bare, Layout(("h",)), given | {key: numbered(1)})


def test_a_flat_list_whose_size_nothing_tells_is_asked_for_as_rows() -> None:
    cell = Cell.parse("h_next = tanh(W.h @ x)", "forgetful")
    with pytest.raises(InputError, match="size of W cannot be told from a flat list"):
        unpack(cell, Layout(("h",), "rows"), {"W": numbered(4)})
