"""When a winner is named: the rule on made-up numbers."""

from __future__ import annotations

from itertools import combinations
from math import comb, inf

import pytest

from grus.comparison.verdict import failing, solved, verdict

LOW, HIGH = [1.0, 1.1, 1.2, 1.3, 1.4], [1.5, 1.6, 1.7, 1.8, 1.9]


def test_a_cell_that_is_better_on_every_seed_than_all_others_wins() -> None:
    found = verdict({"a": HIGH, "b": LOW, "c": [2.0] * 5}, 99.0)
    assert (found.winner, found.leaders, found.behind) == ("b", ("b",), ("a", "c"))
    assert found.sentence == "b wins: its worst seed is better than the best seed of a and c."


def test_one_seed_that_overlaps_takes_the_title_away() -> None:
    """By the mean, the median, or four seeds of five a would have won."""
    found = verdict({"a": [1.0, 1.0, 1.0, 1.0, 1.55], "b": HIGH}, 99.0)
    assert (found.winner, found.leaders, found.behind) == (None, ("a", "b"), ())
    assert found.sentence == "No winner: the spreads of a and b overlap."


def test_two_in_front_share_it_and_the_third_is_behind() -> None:
    found = verdict({"rnn": [9.0] * 5, "gru": LOW, "lstm": [1.05, 1.2, 1.2, 1.3, 1.35]}, 99.0)
    assert (found.winner, found.behind) == (None, ("rnn",))
    assert found.sentence == (
        "No winner: the spreads of gru and lstm overlap. Behind gru on every seed: rnn."
    )


def test_nothing_wins_that_learned_next_to_nothing() -> None:
    """Ahead on every seed, at 0.91 of what knowing nothing gives; at 0.89 it wins."""
    ahead = {"a": [0.91, 0.92, 0.93, 0.94], "b": [0.97, 0.98, 0.99, 1.0]}
    found = verdict(ahead, 1.0)
    assert (found.winner, found.behind) == (None, ("b",))
    assert found.sentence.startswith("No winner: a has the lowest loss, but learned next to")
    assert verdict({**ahead, "a": [0.89, 0.92, 0.93, 0.94]}, 1.0).winner == "a"


def test_equal_losses_overlap() -> None:
    assert verdict({"a": LOW, "b": [1.4, 2, 2, 2, 2]}, 99.0).winner is None
    assert verdict({"a": [1.0] * 5, "b": [1.0] * 5}, 99.0).winner is None


@pytest.mark.parametrize(("seeds", "named"), [(1, False), (3, False), (4, True), (5, True)])
def test_too_few_seeds_name_nobody(seeds: int, named: bool) -> None:
    found = verdict({"a": LOW[:seeds], "b": HIGH[:seeds]}, 99.0)
    assert (found.winner == "a") is named
    assert named or "too few to tell" in found.sentence


def test_the_cell_with_the_fewest_seeds_counts() -> None:
    """After Ctrl-C some cells have one seed less than others."""
    assert verdict({"a": LOW, "b": HIGH[:3]}, 99.0).winner is None


def test_one_cell_alone_wins_nothing() -> None:
    assert verdict({"a": LOW}, 99.0).winner is None


def test_a_run_that_diverged_counts_as_the_worst() -> None:
    assert verdict({"a": [*LOW[:4], inf], "b": HIGH}, 99.0).winner is None
    assert verdict({"a": LOW, "b": [*HIGH[:4], inf]}, 99.0).winner == "a"
    assert verdict({"a": [inf] * 5, "b": [inf] * 5}, 99.0).winner is None


@pytest.mark.parametrize("seeds", [4, 5])
def test_by_chance_alone_a_winner_is_named_as_seldom_as_it_says(seeds: int) -> None:
    """All ways to deal the ranks 1..2n to two cells that are the same."""
    ranks = range(2 * seeds)
    named = 0
    for one in combinations(ranks, seeds):
        other = [r for r in ranks if r not in one]
        named += verdict({"a": list(one), "b": other}, 99.0).winner is not None
    assert named == 2
    assert 2 / comb(2 * seeds, seeds) < 0.03


def test_a_cell_fails_when_no_seed_is_below_nine_tenths_of_knowing_nothing() -> None:
    losses = {"rnn": [0.16, 0.155], "one": [0.16, 0.01], "gru": [0.001, 0.002], "odd": [inf, inf]}
    assert failing(losses, 0.167) == ("rnn", "odd")


def test_solved_counts_the_seeds_below_the_limit() -> None:
    assert solved([0.001, 0.0167, 0.1], 0.0167) == 1
    assert solved([0.001], None) is None
