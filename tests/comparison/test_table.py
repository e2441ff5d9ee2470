"""The table and the JSON of a comparison whose numbers are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf

import pytest

from grus.comparison.contestants import Contestant
from grus.comparison.courses import TaskCourse
from grus.comparison.trials import Outcome, Trial
from grus.comparison.verdict import as_json, short, table, trial_line
from grus.equations import CELLS
from grus.models.memory_tasks import Adding
from grus.models.settings import Settings

COURSE = TaskCourse(Adding(10), Settings(steps=100, batch=3))
BEST = {"rnn": [0.16, 0.165, 0.17, 0.16, 0.166], "gru": [0.001, 0.002, 0.003, 0.02, 0.004]}


def made_up() -> Outcome:
    trials = [
        Trial(
            name,
            seed,
            (50, 100),
            (0.2, best),
            best,
            0.001 * (seed + 1),
            2.0,
            "",
            (8.0, 4.0),
            (8.0, 0.08),
        )
        for name, losses in BEST.items()
        for seed, best in enumerate(losses)
    ]
    found = tuple(Contestant(name, CELLS[name], 6, {}, 1234) for name in BEST)
    return Outcome(found, tuple(range(5)), trials, True)


def test_a_row_says_what_its_runs_were() -> None:
    rows = {line.split()[0]: line.split() for line in table(COURSE, made_up())[2:4]}
    assert rows["gru"][1:3] == ["6", "1,234"]
    assert rows["gru"][-8:] == ["3.00", "ms", "0.003", "0.001", "0.02", "5.0e-01", "1.0e-02", "4/5"]
    assert rows["rnn"][-1] == "0/5"


def test_a_time_is_that_of_the_runs_that_have_one() -> None:
    outcome = made_up()
    outcome.trials[-1] = replace(outcome.trials[-1], step_seconds=None)
    assert "2.50 ms" in table(COURSE, outcome)[3]


def test_columns_stand_below_each_other() -> None:
    lines = table(COURSE, made_up())[:4]
    assert len({len(line) for line in lines[2:]}) == 1
    for title in ("parameters", "hidden"):
        end = lines[0].index(title) + len(title)
        assert all(line[end - 1] != " " and line[end] == " " for line in lines[2:])


def test_it_names_the_winner_and_who_failed() -> None:
    said = table(COURSE, made_up())
    assert "gru wins: its worst seed is better than the best seed of rnn." in said
    assert any(line.startswith("rnn fails: its best seed reaches 0.16, ") for line in said)
    assert not any(line.startswith("gru fails") for line in said)


def test_one_worse_seed_and_nobody_wins() -> None:
    outcome = made_up()
    outcome.trials[-1] = replace(outcome.trials[-1], best=0.161)
    assert not any("wins" in line for line in table(COURSE, outcome))


def test_json_holds_every_run_and_reads_back() -> None:
    outcome = made_up()
    outcome.trials[0] = replace(
        outcome.trials[0], best=inf, losses=(inf,), steps=(50,), flow=(), flow_before=(inf, 1.0)
    )
    found = json.loads(as_json(COURSE, outcome, "params"))
    gru = found["contestants"][1]
    assert [trial["best"] for trial in gru["trials"]] == BEST["gru"]
    assert gru["trials"][2]["losses"] == [0.2, 0.003]
    assert gru["solved"] == 4
    assert gru["operations"] > 0
    assert found["contestants"][0]["trials"][0]["best"] is None
    assert found["contestants"][0]["trials"][0]["flow_before"] == [None, 1.0]
    assert found["verdict"]["winner"] == "gru"
    assert found["settings"]["steps"] == 100


def test_a_run_is_one_line() -> None:
    trial = made_up().trials[1]
    assert trial_line(trial) == "seed 1  rnn: best 0.165 in 2.0 s"
    gone = replace(trial, best=inf, diverged="not finite at step 3")
    assert trial_line(gone) == "seed 1  rnn: in 2.0 s, not finite at step 3"


@pytest.mark.parametrize(
    ("number", "said"),
    [(950, "950 "), (1234, "1.23 k"), (5.6e6, "5.6 M"), (7e9, "7 G"), (8e12, "8 T"), (0, "0 ")],
)
def test_large_numbers_have_a_prefix(number: float, said: str) -> None:
    assert short(number) == said


def test_no_gradient_at_lag_0_leaves_none() -> None:
    """A dead layer has a flow of zeros; it does not end the table after all training."""
    outcome = made_up()
    outcome.trials = [replace(t, flow=(0.0, 0.0)) for t in outcome.trials]
    assert sum(line.rstrip().count(" none ") for line in table(COURSE, outcome)) == len(BEST)
