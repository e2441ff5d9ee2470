"""Deliberate breaks: each is a mistake one could make in a kernel, and the checks see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from agreement import WrongKernelError, check_backward, check_forward, draw, train
from bits import WrongBitsError, check_rows
from cells import ALL_CELLS
from grus.equations import Cell
from grus.kernels import functions, packing
from grus.kernels.bfloat16 import Accumulators
from grus.kernels.builder import Builder
from grus.kernels.functions import SPELLINGS
from grus.kernels.loops import Argument, Value
from grus.kernels.plan import Chain, Group, KLoop, Plan, Stage
from grus.kernels.tile import Equations, HoistedTile, StageTile, Tile
from grus.runtime.gradients import GradientTerms, Stretch

GRU, BEFORE = ALL_CELLS["gru"], ALL_CELLS["gru_reset_before"]
Break = Callable[[pytest.MonkeyPatch], None]


def _a_series_cut_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(functions, "SINGLE", replace(functions.SINGLE, terms=4))


def _a_sigmoid_a_little_too_steep(patch: pytest.MonkeyPatch) -> None:
    def sigmoid(f: Builder, v: Value) -> Value:
        return functions.sigmoid(f, f.let("mul", v, 1.001))

    patch.setitem(SPELLINGS, "sigmoid", sigmoid)


def _a_minus_that_is_a_plus(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(SPELLINGS, "sub", SPELLINGS["add"])


def _a_product_dropped(patch: pytest.MonkeyPatch) -> None:
    right = Stage.groups

    def groups(stage: Stage) -> tuple[Group, ...]:
        found = right.func(stage)
        return (*found[:-1], *(Group(g.operand, g.members[:-1]) for g in found[-1:]))

    dropped = cached_property(groups)
    dropped.__set_name__(Stage, "groups")
    patch.setattr(Stage, "groups", dropped)


def _a_wrong_row_stride(patch: pytest.MonkeyPatch) -> None:
    right = Tile.multiple
    patch.setattr(Tile, "multiple", lambda t, stride, count: right(t, stride, max(0, count - 1)))


def _a_bias_forgotten(patch: pytest.MonkeyPatch) -> None:
    def bias(tile: Tile, chain: Chain, vector: int) -> Argument:
        if isinstance(tile, HoistedTile):
            return 0.0
        return right(tile, chain, vector)

    right = Tile.bias
    patch.setattr(Tile, "bias", bias)


def _the_state_read_from_the_half_just_written(patch: pytest.MonkeyPatch) -> None:
    right = StageTile.row_pointer

    def row_pointer(tile: Any, slot: str, stride: str, row: int, parity: str = "") -> Value:
        return right(tile, slot, stride, row, "nxt" if slot.startswith("state.") else parity)

    patch.setattr(StageTile, "row_pointer", row_pointer)


def _blocks_not_turned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(packing, "transpose", lambda f, rows: list(rows))


def _one_shuffle_of_the_turn_swapped(patch: pytest.MonkeyPatch) -> None:
    right = packing._shuffle

    def shuffle(f: Builder, a: Value, b: Value, order: tuple[int, ...]) -> Value:
        return right(f, a, b, order[::-1] if order[:2] == (1, len(order) + 1) else order)

    patch.setattr(packing, "_shuffle", shuffle)


def _the_columns_of_the_first_vector(patch: pytest.MonkeyPatch) -> None:
    right = Tile.column
    patch.setattr(
        Tile, "column", lambda t, vector: right(t, 0 if isinstance(t, StageTile) else vector)
    )


FORWARD: list[tuple[Break, Cell]] = [
    (_a_series_cut_too_early, GRU),
    (_a_sigmoid_a_little_too_steep, GRU),
    (_a_minus_that_is_a_plus, GRU),
    (_a_product_dropped, GRU),
    (_a_product_dropped, BEFORE),
    (_a_wrong_row_stride, GRU),
    (_a_bias_forgotten, GRU),
    (_the_state_read_from_the_half_just_written, GRU),
    (_blocks_not_turned, GRU),
    (_one_shuffle_of_the_turn_swapped, GRU),
    (_the_columns_of_the_first_vector, ALL_CELLS["rnn"]),
]


def named(breaks: list[tuple[Break, Cell]]) -> list[Any]:
    return [pytest.param(*b, id=f"{b[0].__name__.strip('_')}-{b[1].name}") for b in breaks]


@pytest.mark.parametrize(("broken", "cell"), named(FORWARD))
def test_a_break_of_forward_is_caught(
    broken: Break, cell: Cell, recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = draw(cell, (3, 9, 5, 67), "float32")
    broken(monkeypatch)
    with pytest.raises(WrongKernelError), np.errstate(all="ignore"):
        check_forward(train(problem))


def _sums_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Equations, "add_up", lambda *_: None)


def _gates_merged_that_do_not_follow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stretch, "follows", lambda one, last: (one.family, one.operand) == (
        last.family, last.operand))  # fmt: skip


def _the_last_step_left_out(patch: pytest.MonkeyPatch) -> None:
    right = GradientTerms._tensor

    def short(self: GradientTerms, tensor: int, frame: Any, rows: int) -> Any:
        return right(self, tensor, frame, rows - 1)

    patch.setattr(GradientTerms, "_tensor", short)


def _transposition_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = Plan.k_loops

    def k_loops(plan: Plan) -> tuple[KLoop, ...]:
        members = [tuple((at, w, False) for at, w, _ in k.members) for k in right.func(plan)]
        return tuple(replace(k, members=m) for k, m in zip(right.func(plan), members, strict=True))

    patch.setattr(Plan, "k_loops", property(k_loops))


BACKWARD: list[tuple[Break, Cell]] = [
    (_sums_forgotten, GRU),
    (_a_product_dropped, GRU),
    (_transposition_forgotten, GRU),
    (_the_last_step_left_out, GRU),
    (_gates_merged_that_do_not_follow, GRU),
    (_a_wrong_row_stride, BEFORE),
]


@pytest.mark.parametrize(("broken", "cell"), named(BACKWARD))
def test_a_break_of_backward_is_caught(
    broken: Break, cell: Cell, recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(draw(cell, (3, 9, 33, 33), "float32"))
    broken(monkeypatch)
    # A broken kernel leaves memory unwritten, and what happens to be in it may overflow.
    with pytest.raises(WrongKernelError), np.errstate(all="ignore"):
        check_backward(run)


def _another_order_for_single_rows(patch: pytest.MonkeyPatch) -> None:
    """Each result within the bound, and yet a row alone differs from the row in a batch."""
    right, usual = StageTile.start, Tile.products

    def start(tile: StageTile, chain: Chain, row: int, vector: int) -> Argument:
        if tile.rows > 1:
            return right(tile, chain, row, vector)
        return 0.0

    def products(tile: Tile, number: int, rows: list[Value], accumulators: Accumulators) -> None:
        usual(tile, number, rows, accumulators)
        if tile.rows > 1 or not isinstance(tile, StageTile):
            return
        for (i, v, c), value in list(accumulators.items()):
            first = right(tile, tile.stage.chains[c], i, v)
            accumulators[i, v, c] = tile.f.let("add", value, first)

    patch.setattr(StageTile, "start", start)
    patch.setattr(Tile, "products", products)


def test_another_order_of_adding_is_within_the_bounds_but_not_the_same_bits(
    recompiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _another_order_for_single_rows(monkeypatch)
    problem = draw(GRU, (3, 9, 5, 67), "float32")
    check_forward(train(problem))
    with pytest.raises(WrongBitsError):
        check_rows(problem)


def test_the_breaks_break_what_is_right() -> None:
    """Without a break the same checks pass."""
    for cell in (GRU, BEFORE, ALL_CELLS["rnn"]):
        check_forward(train(draw(cell, (3, 9, 5, 67), "float32")))
        check_rows(draw(cell, (3, 9, 5, 67), "float32"))
    for cell in (GRU, BEFORE):
        check_backward(train(draw(cell, (3, 9, 33, 33), "float32")))
