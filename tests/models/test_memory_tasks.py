"""The adding problem and the copy task ask what they say they ask."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from grus.equations import CELLS
from grus.errors import InputError
from grus.models.memory_tasks import Adding, Copying, Task, TaskModel, TaskRun, held_out
from grus.models.settings import Settings
from grus.models.train import DivergedError, Unwatched, learn, train


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("lag", [2, 3, 20, 51])
def test_adding_marks_one_number_in_each_half_and_asks_for_their_sum(lag: int) -> None:
    x, y = Adding(lag).draw(200, seeded())
    numbers, marks = x.unbind(-1)
    assert x.shape == (lag, 200, 2)
    assert ((marks == 0) | (marks == 1)).all()
    assert (marks[: lag // 2].sum(0) == 1).all()
    assert (marks[lag // 2 :].sum(0) == 1).all()
    assert torch.equal((numbers * marks).sum(0), y)
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_every_place_of_a_half_is_marked() -> None:
    marks = Adding(10).draw(1000, seeded())[0][..., 1].sum(1)
    assert (marks > 100).all()  # 200 expected, a standard deviation of 13


def test_knowing_nothing_about_the_sum_costs_a_sixth() -> None:
    """A sum of two of U[0, 1] has variance 1/6 and kurtosis 2.4: the mean of n squares scatters by
    sqrt(1.4 / n) / 6; five of those are 0.0031 for n = 100,000."""
    task = Adding(4)
    _, y = task.draw(100_000, seeded())
    assert abs(task.baseline(y) - 1 / 6) < 0.0031
    assert task.baseline(y) == pytest.approx(float(((y.double() - 1) ** 2).mean()))


@pytest.mark.parametrize("lag", [1, 5, 40])
def test_copying_shows_ten_letters_and_asks_for_them_after_the_delimiter(lag: int) -> None:
    x, y = Copying(lag).draw(30, seeded())
    shown = x.argmax(-1)
    assert x.shape == (lag + 20, 30, 10)
    assert (x.sum(-1) == 1).all()
    assert torch.equal(shown[:10], y[-10:])
    assert (shown[:10] < 8).all()
    assert (shown[10 + lag - 1] == 9).all()
    blanks = torch.cat([shown[10 : 10 + lag - 1], shown[10 + lag :], y[: lag + 10]])
    assert (blanks == 8).all()


class Guesser(nn.Module):
    """Scores as given, whatever the output."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.scores


def test_the_baselines_are_what_the_guesses_get() -> None:
    task = Copying(30)
    _, y = task.draw(50, seeded())
    scores = torch.full((50, 50, 9), -100.0)
    scores[:40, :, 8] = 0.0
    scores[40:, :, :8] = 0.0
    assert task.baseline(y) == pytest.approx(10 * math.log(8) / 50)
    assert float(task.loss(Guesser(scores), scores, y)) == pytest.approx(task.baseline(y), rel=1e-5)


def test_who_knows_the_answer_loses_nothing() -> None:
    adding, copying = Adding(6), Copying(6)
    _, total = adding.draw(20, seeded())
    assert float(adding.loss(Guesser(total[:, None]), total[None], total)) == 0.0
    _, letters = copying.draw(20, seeded())
    sure = 100.0 * nn.functional.one_hot(letters, 9).float()
    assert float(copying.loss(Guesser(sure), sure, letters)) == 0.0


@pytest.mark.parametrize("task", [Adding(9), Copying(3)], ids=["adding", "copy"])
def test_one_seed_is_one_stream_of_sequences_and_validation_is_apart(task: Task) -> None:
    found = []
    for name, hidden in (("rnn", 6), ("gru", 9)):
        run = TaskRun(task, CELLS[name], hidden, Settings(steps=9, seed=4), held_out(task, 32))
        found.append([run.chunk()[0] for _ in range(3)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not any(torch.equal(a, b) for a, b in pairwise(found[0]))
    other = TaskRun(task, CELLS["rnn"], 6, Settings(steps=9, seed=5), held_out(task, 32))
    assert not torch.equal(other.chunk()[0], found[0][0])
    assert not torch.equal(held_out(task, 32)[0], found[0][0])


def test_the_mean_loss_counts_every_row_alike() -> None:
    """10 rows by threes: the last batch has one. float32 means: a few parts in 1e7."""
    task = Copying(4)
    model = TaskModel(task, CELLS["lstm"], 5)
    x, y = task.draw(10, seeded())
    whole = float(model.loss(x, y)[0].detach())
    assert model.mean_loss(x, y, 3) == pytest.approx(whole, rel=1e-6)


def test_a_task_is_learned_by_the_loop_of_all_models() -> None:
    """Two steps to remember over: far below knowing nothing within some hundred steps."""
    task = Adding(2)
    run = TaskRun(task, CELLS["gru"], 12, Settings(steps=300, lr=0.01), held_out(task, 100))
    for _ in range(300):
        learn(run.model, run.optimizer, *run.chunk(), None, 1.0, run.generator)
    assert run.model.mean_loss(*run.validation, 32) < 0.1 * task.baseline(run.validation[1])


@pytest.mark.parametrize(
    ("task", "lr", "which"),
    [
        (Adding(6), 10.0, "training"),
        (Copying(3), 10.0, "training"),
        (Copying(3), 3.0, "validation"),
    ],
)
def test_a_finite_explosion_ends_a_task_as_it_ends_a_text(
    task: Task, lr: float, which: str
) -> None:
    settings = Settings(steps=60, batch=8, lr=lr, clip=0.0, threads=1, report_every=10)
    run = TaskRun(task, CELLS["gru"], 8, settings, held_out(task, 50))
    with pytest.raises(DivergedError, match=rf"{which} loss exploded: .*{task.unit}.* at step 10,"):
        train(run, Unwatched(), lambda: False)
    assert math.isfinite(run.validate())


def test_an_untrained_network_is_no_explosion() -> None:
    """Of any lag: where a guess is measured against knowing nothing, long lags would be."""
    for task in (Adding(2), Adding(200), Copying(1), Copying(500)):
        validation = held_out(task, 20)
        loss = TaskModel(task, CELLS["lstm"], 30).mean_loss(*validation, 20)
        assert 0.5 < loss / task.guess(validation[1]) < 2


def test_gate_biases_are_set() -> None:
    model = TaskModel(Adding(5), CELLS["lstm"], 4, {"f": 3.0, "i": -3.0})
    biases = model.layer.layer_weights(0)["b"].detach().view(4, 4)
    assert biases[:2].tolist() == [[-3.0] * 4, [3.0] * 4]


@pytest.mark.parametrize("lag", [-1, 0, 10**9])
def test_a_lag_that_cannot_be_is_refused(lag: int) -> None:
    for kind in (Adding, Copying):
        with pytest.raises(InputError, match="--lag must lie in"):
            kind(lag)
