"""A benchmark's arithmetic on made-up clocks: turns, medians, spreads, means; the roofline."""

from __future__ import annotations

import io

import numpy as np
import pytest

from grus.errors import InputError
from grus_benchmarks import turns
from grus_benchmarks.problem import BOTH, BOTH_DX, FORWARD, QUICK, TABLE, Problem, Shape
from grus_benchmarks.roofline import Limits, bounds, operations, recurrent, streamed, touched
from grus_benchmarks.turns import (
    BLOCK,
    FEWEST,
    MOST,
    Run,
    Turns,
    geometric_mean,
    rounds,
    spread,
    take_turns,
)
from grus_benchmarks.wire import receive, send


class Clock:
    """Two processes whose calls take made-up seconds; every block is written down."""

    def __init__(self, a: float, b: float, drift: float = 0.0) -> None:
        self.each, self.drift = {"a": a, "b": b}, drift
        self.blocks: list[tuple[str, int, int]] = []
        self.rests: list[int] = []

    def run(self, name: str) -> Run:
        def seconds(count: int, before: int) -> float:
            self.blocks.append((name, count, before))
            return count * self.each[name] * (1 + self.drift * len(self.blocks))

        return seconds

    def measure(self, budget: float) -> Turns:
        rest = lambda seconds: self.rests.append(len(self.blocks))  # noqa: E731
        return take_turns(self.run("a"), self.run("b"), budget, rest)


def test_blocks_come_in_the_order_a_b_b_a() -> None:
    clock = Clock(0.5, 0.25)
    clock.measure(0.0)
    assert "".join(name for name, _, _ in clock.blocks[-4 * FEWEST :]) == "abba" * FEWEST


def test_as_many_blocks_as_are_asked_for() -> None:
    clock = Clock(0.5, 0.25)
    found = take_turns(clock.run("a"), clock.run("b"), 9.0, lambda _: None, blocks=3)
    assert (len(found.ours), len(found.theirs)) == (3, 3)
    assert "".join(name for name, _, _ in clock.blocks[-6:]) == "abbaab"


def test_idle_threads_get_a_rest_whenever_the_other_process_is_next() -> None:
    clock = Clock(0.5, 0.25)
    clock.measure(0.0)
    changes = [2, 3, 5, 7, 9]  # two probes, then a|bb|aa|bb|a
    assert clock.rests == changes


def test_the_ratio_is_how_many_times_as_long_the_second_takes() -> None:
    found = Clock(0.001, 0.003).measure(0.5)
    assert found.ratio == pytest.approx(3)
    assert set(np.round(found.ours, 12)) == {0.001}


def test_a_steady_drift_meets_both_alike() -> None:
    assert Clock(0.1, 0.1, drift=0.05).measure(0.0).ratio == pytest.approx(1)


def test_one_disturbed_block_does_not_count() -> None:
    assert Turns((1, 1, 1, 50), (2, 2, 2, 2)).ratio == 2


def test_short_calls_are_many_in_a_block_and_long_ones_one() -> None:
    clock = Clock(1e-5, 1.0)
    clock.measure(0.0)
    (count, before), (one, none) = (
        next(b[1:] for b in clock.blocks[-4:] if b[0] == n) for n in "ab"
    )
    assert count * 1e-5 == pytest.approx(BLOCK, rel=0.01)
    assert (before, one, none) == (1, 1, 0)


def test_the_budget_sets_the_rounds_between_the_fewest_and_the_most() -> None:
    assert rounds(0.02, 0.03, 0.55) == 5
    assert rounds(10, 10, 0.5) == FEWEST
    assert rounds(1e-6, 1e-6, 5) == MOST


def test_spread_is_between_quartiles_and_relative() -> None:
    assert spread([1, 2, 3, 4, 5]) == pytest.approx(2 / 3)
    assert spread([3, 3, 3]) == 0
    assert spread([7]) == 0


def test_a_geometric_mean_weighs_twice_and_half_alike() -> None:
    assert geometric_mean([2, 0.5]) == pytest.approx(1)
    assert geometric_mean([2, 2, 16]) == pytest.approx(4)
    with pytest.raises(ValueError, match="no ratios"):
        geometric_mean([])


def test_messages_and_arrays_come_back_as_they_were() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "none": np.zeros((0, 4))}
    file = io.BytesIO()
    send(file, {"do": "load", "count": 3}, arrays)
    file.seek(0)
    message, found = receive(file)
    assert message == {"do": "load", "count": 3}
    assert {name: value.dtype for name, value in found.items()} == {
        "a": np.dtype("f4"),
        "none": np.dtype("f8"),
    }
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
    with pytest.raises(EOFError):
        receive(file)
    with pytest.raises(EOFError):
        receive(io.BytesIO(file.getvalue()[:-1]))


def test_the_table_holds_what_it_must() -> None:
    texts = [str(problem) for problem in TABLE]
    assert len(set(texts)) == len(texts) == 30
    assert sum("LSTM" in text for text in texts) == 5
    assert sum("bidirectional" in text for text in texts) == 3
    assert sum("3 layers" in text for text in texts) == 3
    assert "1,1,256,256 step" in texts
    assert set(QUICK) < set(TABLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [("rnn:1,2,3,4", "none of gru, lstm"), ("lstm:1,2", "T,B,I,H"), ("step:2,1,3,3", "T = 1")],
)
def test_a_row_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Problem.parse(text)


@pytest.mark.parametrize("problem", TABLE, ids=str)
def test_a_problem_comes_back_from_its_json(problem: Problem) -> None:
    assert Problem.read(problem.as_json()) == problem


LIMITS = Limits({"a 1": 50.0, "b 2": 100.0}, {100: 40.0, 1000: 10.0, 10_000: 12.0}, 5.0)


@pytest.mark.parametrize(
    ("count", "rate"), [(1, 40), (100, 40), (999, 40), (1000, 12), (20_000, 12)]
)
def test_between_two_sizes_the_faster_reading_counts(count: int, rate: float) -> None:
    assert LIMITS.reading(count) == rate


def test_operations_of_one_layer_by_hand() -> None:
    T, B, I, H = 7, 3, 5, 4  # noqa: E741
    problem = Problem(Shape(T, B, I, H))
    forward = 6 * T * B * H * (I + H)
    assert operations(problem, FORWARD) == forward
    assert operations(problem, BOTH) == 2 * forward + 6 * T * B * H * H
    assert operations(problem, BOTH_DX) == 3 * forward
    assert operations(Problem(problem.shape, "lstm"), FORWARD) == forward * 4 / 3


def test_a_layer_above_always_hands_its_gradient_down() -> None:
    shape, unit = Shape(7, 3, 4, 4), 6 * 7 * 3 * 4 * 4
    stack = Problem(shape, layers=3, directions=2)
    first, above = 2 * unit, 3 * unit  # products with x and h in units; above, x is 2 H wide
    assert operations(stack, FORWARD) == 2 * (first + 2 * above)
    assert operations(stack, BOTH_DX) == 3 * operations(stack, FORWARD)
    assert operations(stack, BOTH_DX) - operations(stack, BOTH) == 2 * unit


def test_bytes_by_hand() -> None:
    problem = Problem(Shape(7, 3, 5, 4))
    weights, x, y = 3 * 4 * (5 + 4 + 2), 7 * 3 * 5, 7 * 3 * 4
    assert touched(problem, FORWARD) == 4 * (weights + x + y)
    assert touched(problem, BOTH) == 4 * (2 * weights + x + 2 * y)
    assert touched(problem, BOTH_DX) == 4 * (2 * weights + 2 * x + 2 * y)
    assert recurrent(problem) == 4 * 3 * 16
    assert streamed(problem, FORWARD) == 7 * recurrent(problem)
    assert streamed(problem, BOTH) == 14 * recurrent(problem)


def test_each_bound_has_its_own_limit() -> None:
    problem = Problem(Shape(7, 3, 5, 4))
    found = bounds(problem, FORWARD, LIMITS)
    assert found["operations"] == operations(problem, FORWARD) / 100
    assert found["bytes once"] == touched(problem, FORWARD) / 12
    assert found["weights again"] == streamed(problem, FORWARD) / 40


def test_one_row_is_bound_by_weights_and_many_rows_by_operations() -> None:
    limits = Limits({"x": 2e11}, {1 << 16: 4e11, 1 << 19: 1.5e11, 1 << 27: 4e10}, 3e10)
    one = bounds(Problem(Shape(100, 1, 256, 256)), FORWARD, limits)
    many = bounds(Problem(Shape(100, 32, 256, 256)), FORWARD, limits)
    assert max(one, key=lambda name: one[name]) == "weights again"
    assert max(many, key=lambda name: many[name]) == "operations"


def test_the_shortest_rest_is_shorter_than_a_block() -> None:
    assert 0 < turns.REST < BLOCK
