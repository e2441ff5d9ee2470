"""Writing: one step at a time, deterministic, and refusing what cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from grus.equations import CELLS
from grus.errors import InputError
from grus.models.corpus import Architecture, Vocabulary
from grus.models.evaluation import mean_loss, sample
from grus.models.language import LanguageModel, State, hold_model
from small_run import PROSE, SETTINGS, finish, start


def model(symbols: str = "\n abcd") -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(Architecture(CELLS["gru"], Vocabulary(symbols), hidden=7, embedding=4))


def test_a_model_that_knows_its_text_writes_it(tmp_path: Path) -> None:
    """Trained to the end on one repeated sentence, the likeliest characters are that sentence."""
    run = start(tmp_path, replace(SETTINGS, steps=600, lr=0.01, dropout=0.0), hidden=32)
    finish(run)
    assert "quick " + "".join(sample(run.model, "quick ", 60, temperature=0)) in PROSE


def test_the_seed_decides_what_is_written() -> None:
    first, again, other = ("".join(sample(model(), "a", 50, seed=s)) for s in (1, 1, 2))
    assert first == again != other
    assert len(first) == 50


def test_temperature_zero_is_the_limit_of_small_temperatures() -> None:
    coldest = "".join(sample(model(), "a", 30, temperature=0, seed=1))
    for temperature in (1e-9, 1e-300, 5e-324):
        assert "".join(sample(model(), "a", 30, temperature, seed=2)) == coldest


def test_the_frequencies_are_softmax_of_scores_over_temperature() -> None:
    """One symbol drawn 4000 times; each count within five standard deviations."""
    written = model()
    with torch.no_grad():
        scores, _ = written.step(torch.tensor([2]))
    for temperature in (0.5, 2.0):
        expected = torch.softmax(scores[0].double() / temperature, 0)
        draws = [next(sample(written, "a", 1, temperature, seed)) for seed in range(4000)]
        for symbol, p in zip("\n abcd", expected.tolist(), strict=True):
            slack = 5 * math.sqrt(4000 * p * (1 - p))
            assert abs(draws.count(symbol) - 4000 * p) < slack


def test_every_symbol_is_one_step_and_comes_at_once() -> None:
    written, steps = model(), []
    step = written.step

    def counted(ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        steps.append(int(ids))
        return step(ids, state)

    written.step = counted  # type: ignore[method-assign]
    symbols = sample(written, "abc", 5)
    assert steps == []
    next(symbols)
    assert steps == [2, 3, 4]
    next(symbols)
    assert len(steps) == 4


def test_no_prompt_starts_as_after_a_newline() -> None:
    assert list(sample(model(), "", 20)) == list(sample(model(), "\n", 20))
    assert list(sample(model(" ab"), "", 20)) == list(sample(model(" ab"), " ", 20))
    assert list(sample(model("ab"), "", 20)) == list(sample(model("ab"), "a", 20))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"prompt": "aXbY"}, "'XY' is not in the model's vocabulary"),
        ({"length": -1}, "length"),
        ({"temperature": -0.5}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    bad: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sample(model(), **bad)  # type: ignore[arg-type]


def test_each_module_keeps_its_mode_and_the_generator_its_place() -> None:
    """Sampled half or whole, validated or held: flags and random state stay."""
    written = model().train()
    written.layers[0].eval()
    flags, random = [m.training for m in written.modules()], torch.get_rng_state()
    symbols = sample(written, "a", 3)
    next(symbols)
    assert [m.training for m in written.modules()] == flags
    list(symbols)
    ids = torch.zeros(4, 1, dtype=torch.long)
    mean_loss(written, ids, ids)
    with pytest.raises(IndexError):
        mean_loss(written, ids + 99, ids)
    hold_model(written, {"z": 0.5})
    assert [m.training for m in written.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random)
