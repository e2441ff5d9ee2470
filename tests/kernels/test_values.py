"""Named values of every step: the reference's within bounds, a run's bits, NaN past the end."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from agreement import WrongKernelError, draw
from bits import same
from cells import ALL_CELLS
from grus import InputError, runtime
from grus.runtime import arrays
from inside import check, inside
from test_agreement import KERNEL_CELLS
from test_lengths_resets import STEPS, case, each_cell

every_cell = pytest.mark.parametrize("name", KERNEL_CELLS)


@every_cell
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_value_of_every_step_is_the_references_within_rounding(
    name: str, dtype: str, reverse: bool
) -> None:
    for sizes in ((4, 9, 5, 33), (6, 1, 3, 16)):
        check(inside(draw(ALL_CELLS[name], sizes, dtype), reverse=reverse))


@every_cell
@pytest.mark.parametrize("kind", [(0, 0, "zero", False), (0, 0, "zero", True), *STEPS[::3]])
def test_outputs_and_final_states_have_the_bits_of_a_run(name: str, kind: tuple) -> None:
    p, s = case(name, (9, 5, 3, 17), "float32", kind)
    how = {
        "lengths": s.lengths, "resets": s.resets, "reset_to": s.reset_to, "reverse": s.reverse,
    }  # fmt: skip
    plain = runtime.run(p.cell, p.weights, p.x, p.start, **how)
    found, final = runtime.values(p.cell, p.weights, p.x, p.start, **how)
    same("final states", final, plain.state)
    output = found[p.cell.output].copy()
    if s.lengths is not None:
        past = np.arange(len(p.x))[:, None] >= s.lengths
        for value in found.values():
            assert np.isnan(value[past]).all()
            assert not np.isnan(value[~past]).any()
        output[past] = 0
    same("output", [output], [plain.output])


@each_cell
def test_a_value_has_the_same_bits_whoever_else_is_asked_for(name: str) -> None:
    p = draw(ALL_CELLS[name], (5, 3, 4, 19), "float32")
    everything, _ = runtime.values(p.cell, p.weights, p.x, p.start)
    for one in everything:
        found, _ = runtime.values(p.cell, p.weights, p.x, p.start, [one], threads=1)
        assert list(found) == [one]
        same(one, found.values(), [everything[one]])


def test_a_state_is_the_one_after_the_step() -> None:
    p = draw(ALL_CELLS["lstm"], (5, 3, 4, 19), "float32")
    found, final = runtime.values(p.cell, p.weights, p.x, p.start, ["c", "h", "h_next", "i"])
    assert list(found) == ["c", "h", "h_next", "i"]
    same("both names", [found["h"]], [found["h_next"]])
    same("the last step", [found["h"][-1], found["c"][-1]], final)


def test_without_a_start_the_states_are_zeros_and_an_empty_sequence_has_no_values() -> None:
    p = draw(ALL_CELLS["gru"], (5, 3, 4, 19), "float32")
    zeros = tuple(map(np.zeros_like, p.start))
    same(
        "zeros",
        runtime.values(p.cell, p.weights, p.x)[0].values(),
        runtime.values(p.cell, p.weights, p.x, zeros)[0].values(),
    )
    found, final = runtime.values(p.cell, p.weights, p.x[:0], p.start, ["z"])
    assert found["z"].shape == (0, 3, 19)
    same("h0", final, p.start)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["q"], "gru has no value 'q'; it has r, z, m, n, h_next, h"), ("rz", "list of names")],
)
def test_a_name_that_the_cell_has_not_is_said(names: object, said: str) -> None:
    p = draw(ALL_CELLS["gru"], (2, 1, 3, 4), "float32")
    with pytest.raises(InputError, match=said):
        runtime.values(p.cell, p.weights, p.x, names=names)  # type: ignore[arg-type]


def _written_one_step_late(patch: pytest.MonkeyPatch) -> None:
    right = arrays.store

    def store(cell, weights, x, start, into, *rest):
        right(cell, weights, x, start, into, *rest)
        for array in into.values():
            array[...] = np.roll(array, 1, 0)

    patch.setattr(arrays, "store", store)


def _the_state_before_the_step(patch: pytest.MonkeyPatch) -> None:
    right = arrays.store

    def store(cell, weights, x, start, into, *rest):
        before = {n.removesuffix("_next"): a for n, a in into.items()}
        right(cell, weights, x, start, before, *rest)

    patch.setattr(arrays, "store", store)


def _the_other_direction(patch: pytest.MonkeyPatch) -> None:
    module = sys.modules[runtime.values.__module__]
    right = module.check_steps

    def steps(*args, reverse):
        return right(*args, reverse=not reverse)

    patch.setattr(module, "check_steps", steps)


@pytest.mark.parametrize(
    "broken", [_written_one_step_late, _the_state_before_the_step, _the_other_direction]
)
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_break_is_caught(
    broken: Callable[[pytest.MonkeyPatch], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = draw(ALL_CELLS[name], (6, 3, 5, 17), "float32")
    check(inside(problem))
    broken(monkeypatch)
    with pytest.raises(WrongKernelError):
        check(inside(problem))
