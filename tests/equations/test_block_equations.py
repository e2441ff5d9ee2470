"""Operands that are read in blocks: spelling, shapes, derivatives, cost, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from diagrams import read, rebuild
from grus.diagram import svg
from grus.equations import (
    CELLS,
    Cell,
    CellError,
    U,
    W,
    Weight,
    blocks,
    flat,
    h,
    hold,
    regularised,
    structure,
    x,
)
from grus.errors import InputError
from grus.gradients import backward, cost
from grus.reference import run

GRU = CELLS["gru"].in_blocks(4)
MIXED = Cell.parse(
    "q = tanh(V.q @ blocks(h, 2) + W.q @ x + b.q)\nh_next = U.h @ q + V.h.T @ blocks(q, 2)", "mixed"
)


@pytest.mark.parametrize("cell", [GRU, MIXED])
def test_a_mark_is_text_latex_a_drawing_and_part_of_a_cells_identity(cell: Cell) -> None:
    assert Cell.parse(str(cell)) == cell
    assert rebuild(read(svg(cell))) == dict(cell.equations)
    assert Cell.parse(str(cell).replace("4", "8").replace(", 2", ", 4")) != cell
    assert r"\operatorname{blocks}" in cell.latex()
    assert flat.flatten(flat.flatten(cell)) == flat.flatten(cell)
    built = Cell("built", (("h_next", W.a @ x + U.a @ blocks(h, 3)),))
    assert built == Cell.parse("h_next = W.a @ x + U.a @ blocks(h, 3)")


def test_a_matrix_is_stored_without_its_zeros() -> None:
    sizes = {"input": 8, "hidden": 12, "projection": 6}
    assert GRU.family_shape("W", sizes) == (36, 2)
    assert GRU.family_shape("U", sizes) == (36, 3)
    assert GRU.shapes.spelled(Weight("W", "r")) == ("hidden", "input / 4")
    assert (MIXED.family_shape("V", sizes), MIXED.family_shape("U", sizes)) == ((12, 6), (12, 6))
    with pytest.raises(InputError, match="U has 4 blocks, so that hidden must be a multiple of 4"):
        GRU.family_shape("U", {"input": 8, "hidden": 10})


def test_a_count_marks_all_operands_or_those_that_are_marked() -> None:
    assert CELLS["gru"].in_blocks(1) == CELLS["gru"] == GRU.in_blocks(1)
    assert GRU.in_blocks(8) == CELLS["gru"].in_blocks(8)
    assert str(MIXED.in_blocks(6)) == str(MIXED).replace(", 2", ", 6")
    for wrong in (0, -2, 2.0, True, "8"):
        with pytest.raises(InputError, match="blocks must be a whole number from 1 up, got"):
            CELLS["gru"].in_blocks(wrong)  # type: ignore[arg-type]
    with pytest.raises(CellError, match="no matrix that could have blocks"):
        Cell.parse("h_next = p.h * h").in_blocks(2)


@pytest.mark.parametrize("turned", [False, True])
def test_a_block_reads_its_own_part_alone(turned: bool) -> None:
    rng = np.random.default_rng(0)
    cell = Cell.parse(f"h_next = U.h{'.T' * turned} @ blocks(h, 3) + 0 * (W.h @ x)")
    weight, start = rng.normal(size=(6, 2)), rng.normal(size=(2, 6))
    weights = {"U": weight, "W": np.zeros((6, 1))}
    parts = [part.T if turned else part for part in np.split(weight, 3)]
    pairs = zip(parts, np.split(start, 3, axis=1), strict=True)
    want = [values @ part.T for part, values in pairs]
    found = run(cell, weights, np.zeros((1, 2, 1)), start).output[0]
    np.testing.assert_allclose(found, np.concatenate(want, axis=1), rtol=1e-14)


def test_the_derivative_turns_each_block_and_costs_a_blocks_th() -> None:
    equations = str(backward(GRU).cell)
    assert "U.z.T @ blocks(a_z, 4)" in equations
    assert "V.h @ blocks(" in str(backward(MIXED).cell)
    sizes, of = {"input": 8, "hidden": 12}, cost(GRU)
    assert of.parameters.at(sizes) == 36 * 2 + 36 * 3 + 4 * 12
    assert str(of.parameters) == "3/4 H² + 3/4 H I + 4 H"
    dense = cost(CELLS["gru"])
    for one in ("forward", "backward", "dx"):
        blocked, plain = (getattr(c, one).at(sizes) for c in (of, dense))
        products = {"forward": 6 * 12 * 20, "backward": 6 * 12 * 32, "dx": 6 * 12 * 8}[one]
        assert plain - blocked == products * 3 // 4


def test_the_structure_knows_blocks() -> None:
    of = structure(GRU)
    assert (of.jacobian, of.blocks, of.scan) == ("block-diagonal", 4, False)
    assert "jacobian block-diagonal, 4 blocks: U.z @ blocks(h, 4) in z mixes units" in str(of)
    # Eighths of the states within quarters of them.
    nested = "q = U.q @ blocks(h, 8)\nh_next = V.h @ blocks(q, 4)"
    assert structure(Cell.parse(nested)).blocks == 4
    assert structure(Cell.parse(nested.replace("4", "3"))).jacobian == "dense"
    assert structure(MIXED).jacobian == "dense"


def test_masks_norms_and_held_gates_keep_the_marks() -> None:
    assert hold(GRU, r=1) == hold("gru", r=1).in_blocks(4)
    for changed in (regularised.split_norm, regularised.joint_norm):
        assert changed(GRU).families == changed(CELLS["gru"]).families
    dropped = regularised.recurrent_dropout(GRU, 0.5)
    assert "U.r @ blocks(h_kept, 4)" in str(dropped)


def test_masks_and_norms_keep_a_transposed_product() -> None:
    cell = Cell.parse("h_next = tanh(W.n @ x + U.n.T @ h + b.n)")
    assert "U.n.T @ h_kept" in str(regularised.recurrent_dropout(cell, 0.5))
    assert "Un_h = U.n.T @ h" in str(regularised.split_norm(cell))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h_next = U.a @ blocks(h)", "blocks takes an expression and 1 number"),
        ("h_next = U.a @ blocks(h, x)", "blocks takes an expression and 1 number"),
        ("h_next = U.a @ blocks(h, 2.5)", "takes whole numbers after the vector"),
        ("h_next = U.a @ blocks(h, 1)", "blocks(h, 1): there are two blocks or more"),
        ("h_next = tanh(blocks(h, 2))", "stands right of a matrix and its @, and nowhere else"),
        ("q = blocks(h, 2)\nh_next = U.a @ q", "stands right of a matrix and its @"),
        ("h_next = h + U.a @ blocks(2, 2)", "U.a @ needs a vector on its right"),
        ("h_next = U.a @ blocks(h, 2) + U.a @ h", "U.a has 2 blocks and 1"),
        ("h_next = U.a @ blocks(h, 2) + U.b @ h", "U.a hidden x hidden / 2; U.b hidden x hidden"),
        ("h_next = U.a @ blocks(patches(h, 3), 2)", "patches(h, 3) cannot be read in blocks yet"),
    ],
)
def test_what_cannot_be_in_blocks_is_refused_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(CellError) as error:
        Cell.parse(text)
    assert message in str(error.value)
