"""One mistake has one name, in the check kit, in ``identify --mine`` and on the worksheet; and
none is told that changes nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from grus.check import cases
from grus.dialects import Layout, find, unpack
from grus.equations import CELLS, Cell
from grus.identification import identify
from grus.identification.mine import _all, _readings
from grus.mistakes import Calculation, Mistake, misreadings
from grus.mistakes.every_mistake import forward_mistakes, gradient_mistakes
from grus.mistakes.mistake import slips
from grus.mistakes.right_answer import Case, answer, gradients
from grus.worksheet.misreadings import readings

GRUS = [CELLS[n] for n in ("gru", "gru_admit", "gru_reset_before", "gru_reset_before_admit")]
Array = np.ndarray


def changes(mistake: Mistake, cell: Cell, case: Case) -> bool:
    """Whether the numbers of somebody who makes it are others."""
    if mistake.gradients:
        right, wrong = gradients(cell, case), mistake.gradients(cell, case)
    else:
        right, wrong = vars(answer(cell, case)), vars(mistake.run(cell, case))
        right, wrong = ({n: d[n] for n in ("output", "h_n")} for d in (right, wrong))
    return any(not np.allclose(right[n], wrong[n], rtol=0, atol=1e-6) for n in right)


@pytest.mark.parametrize("cell", GRUS, ids=lambda cell: cell.name)
def test_every_mistake_changes_the_numbers_of_some_case(cell: Cell) -> None:
    asked = cases(cell)
    for mistake in (*forward_mistakes(cell), *gradient_mistakes()):
        if cell == CELLS["gru"] or mistake.cell:  # what changes no equation is the same for all
            assert any(changes(mistake, cell, case) for case in asked), mistake.name


def case_and_calculation(cell: Cell) -> tuple[Case, Calculation]:
    """One row of one layer, four units and features so that every block is square, as both."""
    rng = np.random.default_rng(7)
    shapes = {"weight_ih_l0": (12, 4), "weight_hh_l0": (12, 4), "bias_ih_l0": 12, "bias_hh_l0": 12}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    x, h0 = rng.normal(size=(3, 1, 4)), rng.normal(size=(1, 1, 4))
    case = Case("", "", x, weights, h0, dy=np.zeros((3, 1, 4)), dh_n=np.zeros((1, 1, 4)))
    network = find("torch").read(weights)
    assert network.cell == CELLS["gru"]
    right = Calculation.of(network.cell, network.layers[0][0], x[:, 0], (h0[0, 0],))
    (other,) = (c for c in GRUS if c == cell)
    return case, Calculation(other, right.blocks, right.x, right.h0)


@pytest.mark.parametrize("cell", GRUS[:2], ids=lambda cell: cell.name)
def test_the_kit_and_the_slips_call_one_mistake_by_one_name(cell: Cell) -> None:
    """What gives the same last state has the same name, in both directions."""
    case, right = case_and_calculation(cell)
    by_kit = {m.name: m.run(cell, case).h_n[0, 0] for m in forward_mistakes(cell)}
    usual = answer(cell, case).h_n[0, 0]
    by_hand = {s.name: right.wrong(s).final() for _, s in slips(right)}
    by_hand |= {name: wrong.final() for name, wrong in misreadings(right)}
    common = set(by_kit) & set(by_hand)
    assert len(common) >= 8
    for name, value in by_hand.items():
        assert not np.allclose(value, usual, rtol=0, atol=1e-9), name
        for other, theirs in by_kit.items():
            assert (name == other) == np.allclose(value, theirs, rtol=0, atol=1e-9), (name, other)


def named(cell: Cell) -> dict[str, Array]:
    """Every reading and slip of ``identify --mine`` and its last state, users left out."""
    case, _ = case_and_calculation(cell)
    y = find("torch").read(case.weights).run(case.x, case.h0).output[:, 0]
    seen: dict[str, Array] = {}
    from grus.identification import find as finding

    real = finding.explain

    def listening(bases, view, *rest):
        for _, function in bases:
            for names, calculation in _all(list(_readings(function, view))):
                if len(names) == 1:
                    seen[re.sub(r" \([a-z0-9_, ]+\)$", "", names[0])] = calculation.final()
        return real(bases, view, *rest)

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(finding, "explain", listening)
        identify(dict(case.weights), case.x[:, 0], y, case.h0[0, 0], mine=y[-1], mine_digits=6)
    return seen


def test_identify_and_the_worksheet_call_what_the_kit_knows_by_its_name() -> None:
    cell = CELLS["gru"]
    case, _ = case_and_calculation(cell)
    by_kit = {m.name: m.run(cell, case).h_n[0, 0] for m in forward_mistakes(cell)}
    w = case.weights
    tensors = {"W": w["weight_ih_l0"], "U": w["weight_hh_l0"], "b": w["bias_ih_l0"]}
    tensors["second bias"] = w["bias_hh_l0"]
    layout = Layout(("r", "z", "n"), "rows")
    read = unpack(cell, layout, tensors)
    page = readings(cell, layout, tensors, read, case.x[:, 0], (case.h0[0, 0],))
    worksheet = {re.sub(r" \([a-z0-9_, ]+\)$", "", one.label): np.array(one.final) for one in page}
    for told, least in ((named(cell), 14), (worksheet, 4)):
        assert len(set(told) & set(by_kit)) >= least
        for name, value in told.items():
            for other, theirs in by_kit.items():
                alike = np.allclose(value, theirs, rtol=0, atol=1e-9)
                assert (name == other) == alike, (name, other)
