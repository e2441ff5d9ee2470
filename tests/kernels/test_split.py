"""The model of how a call is shared: what it favours, at the ends and where ways cross."""

from __future__ import annotations

import pytest

from grus.kernels import split, threads
from grus.kernels.split import Split, Work, choose, pays, wave_pays

ALONE, ROWS, HIDDEN = Split(1, False), Split(2, False), Split(2, True)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "limit", lambda: 2)


def gru(steps: int, batch: int, hidden: int, inputs: int | None = None) -> Work:
    """A call of the GRU in float32 on 16 lanes, one barrier a step."""
    inside, ahead = 3 * hidden * hidden, 3 * hidden * (hidden if inputs is None else inputs)
    weights = 4 * (inside + ahead)
    return Work(steps, batch, inside, ahead, hidden, weights, 4 * inside, 1, -(-hidden // 16))


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((1, 1, 8), ALONE),
        ((100, 1, 16), ALONE),
        ((100, 1, 32), ALONE),
        ((100, 1, 128), HIDDEN),
        ((100, 1, 512), HIDDEN),
        ((100, 2, 256), HIDDEN),
        ((100, 32, 32), ROWS),
        ((1000, 128, 16), ROWS),
        ((1, 64, 8), ALONE),
        ((0, 4, 16), ALONE),
        ((5, 0, 16), ALONE),
    ],
)
def test_what_it_favours(sizes: tuple[int, int, int], wanted: Split) -> None:
    chosen = choose(gru(*sizes), None)
    chosen.release()
    assert chosen == wanted


def test_a_barrier_that_cost_nothing_would_be_chosen_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gru(10_000, 1, 32).best(2) == ALONE
    monkeypatch.setattr(split, "BARRIER", 0.0)
    assert gru(10_000, 1, 32).best(2) == HIDDEN


def test_the_choice_is_the_least_of_the_ways() -> None:
    for steps in (1, 10, 1000):
        for batch in (1, 2, 3, 5, 8, 64):
            for hidden in (8, 48, 128, 300):
                work = gru(steps, batch, hidden)
                ways = [work.alone, work.hidden(min(2, work.tiles))]
                ways += [work.rows(2)] if batch > 1 else []
                assert work.time(2) == min(ways) if work.tiles > 1 else work.time(2) <= min(ways)


def test_more_threads_never_take_longer() -> None:
    for hidden in (32, 128, 512):
        work = gru(100, 6, hidden)
        times = [work.time(n) for n in (1, 2, 3, 4, 8)]
        assert times == sorted(times, reverse=True)


def test_one_thread_is_asked_for_and_given() -> None:
    assert choose(gru(100, 1, 512), 1) == ALONE


def test_two_regions_with_barriers_do_not_run_at_once() -> None:
    first, second = choose(gru(100, 1, 512), None), choose(gru(100, 1, 512), None)
    assert (first, second) == (HIDDEN, ALONE)
    second.release()
    first.release()
    third = choose(gru(100, 1, 512), None)
    third.release()
    assert third == HIDDEN


def test_calls_run_together_where_a_barrier_would_cost_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert pays([gru(1000, 1, 32)] * 2)
    assert not pays([gru(100, 32, 256)] * 2), "rows are shared as well"
    assert not pays([gru(1, 1, 32)] * 2), "too short to wake anybody"
    assert not pays([gru(1000, 1, 32), gru(10, 1, 32)]), "one would wait for the other"
    monkeypatch.setattr(threads, "limit", lambda: 1)
    assert not pays([gru(1000, 1, 32)] * 2)


def test_layers_go_behind_each_other_where_they_are_long_enough() -> None:
    assert wave_pays([gru(1000, 1, 32)] * 3, 8)
    assert not wave_pays([gru(1000, 1, 32)] * 3, 1), "one piece is no wave"
    assert not wave_pays([gru(1000, 1, 32)], 8), "one layer waits for nobody"
    assert not wave_pays([gru(100, 32, 256)] * 3, 8)
    assert not wave_pays([gru(40, 1, 8)] * 3, 8)
