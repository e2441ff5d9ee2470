"""Public packages with a recurrent layer of torch's inside, unchanged, before and after accelerate.

    python benchmarks/packages.py [darts] [recbole] [sb3-contrib] [--rounds 5 --threads 1]

They are installed beforehand: pip install u8darts pytorch-lightning recbole sb3-contrib. For each,
the largest difference of its outputs with torch's layers and with grus', relative to the largest
output; then the end-to-end time of what the package does (training or inference, its own code, data
handling, embeddings, heads and optimizer included), in turns, the median of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import grus

Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A package's model twice, one of them accelerated; both begin with the same weights."""

    title: str
    outputs: tuple[Callable[[], Tensor], Callable[[], Tensor]]
    """What the package computes, with torch's layers and with grus'."""
    work: dict[str, tuple[Work, Work]]
    """What is timed."""
    swapped: list[str]
    """What accelerate said."""


def darts() -> Case:
    """Forecasting: an RNNModel of 64 units on an hourly series with two seasons."""
    from darts import TimeSeries
    from darts.models import RNNModel

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    hours = torch.arange(1500)
    noise = torch.randn(1500, generator=torch.Generator().manual_seed(0))
    values = torch.sin(hours / 24 * 6.283) + 0.5 * torch.sin(hours / 168 * 6.283) + 0.1 * noise
    series = TimeSeries.from_values(values.numpy())
    trainer = {
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    models = []
    for _ in range(2):
        model = RNNModel(
            24,
            model="GRU",
            hidden_dim=64,
            training_length=96,
            batch_size=32,
            n_epochs=1,
            random_state=0,
            pl_trainer_kwargs=trainer,
        )
        model.fit(series[:200])
        models.append(model)
    said: list[str] = []
    grus.accelerate(models[1].model, say=said.append)

    def predicted(model: Any) -> Tensor:
        return torch.from_numpy(model.predict(96, series).values())

    return Case(
        "darts RNNModel(GRU), forecasting",
        tuple(lambda m=m: predicted(m) for m in models),
        {
            "one epoch of training": tuple(lambda m=m: m.fit(series, epochs=1) for m in models),
            "a forecast of 96 steps": tuple(lambda m=m: predicted(m) for m in models),
        },
        said,
    )


def recbole() -> Case:
    """Recommendation: GRU4Rec as it is configured by default, on sessions of up to 20 clicks."""
    from recbole.model.sequential_recommender import GRU4Rec

    items, batch, steps = 3000, 512, 20
    config = {
        "USER_ID_FIELD": "user",
        "ITEM_ID_FIELD": "item",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "length",
        "NEG_PREFIX": "neg_",
        "MAX_ITEM_LIST_LENGTH": steps,
        "device": "cpu",
        "embedding_size": 64,
        "hidden_size": 128,
        "loss_type": "CE",
        "num_layers": 1,
        "dropout_prob": 0.3,
    }
    torch.manual_seed(0)
    one = GRU4Rec(config, SimpleNamespace(num=lambda field: items))
    two, said = copy.deepcopy(one), []
    grus.accelerate(two, say=said.append)
    lengths = torch.randint(1, steps + 1, (batch,))
    clicks = torch.randint(1, items, (batch, steps)) * (torch.arange(steps) < lengths[:, None])
    given = {"item_list": clicks, "length": lengths, "item": torch.randint(1, items, (batch,))}

    def scores(model: nn.Module) -> Tensor:
        with torch.no_grad():
            return model.eval().full_sort_predict(given)  # type: ignore[no-any-return, operator]

    def trainer(model: nn.Module) -> Work:
        optimizer = torch.optim.Adam(model.parameters())

        def step() -> None:
            optimizer.zero_grad()
            model.train().calculate_loss(given).backward()  # type: ignore[operator]
            optimizer.step()

        return step

    return Case(
        "recbole GRU4Rec, recommendation",
        (lambda: scores(one), lambda: scores(two)),
        {
            f"a training step of {batch} sessions": (trainer(one), trainer(two)),
            f"scores of {items} items for {batch} sessions": (
                lambda: scores(one),
                lambda: scores(two),
            ),
        },
        said,
    )


def sb3_contrib() -> Case:
    """Reinforcement learning: RecurrentPPO with its default policy on CartPole."""
    from sb3_contrib import RecurrentPPO

    models = []
    for _ in range(2):
        model = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", seed=0, device="cpu")
        model.set_random_seed(0)
        model.env.reset()
        models.append(model)
    said: list[str] = []
    grus.accelerate(models[1].policy, say=said.append)

    def acted(model: Any) -> Tensor:
        """Actions' probabilities and values of 4 episodes side by side, some just begun."""
        policy, draw = model.policy, torch.Generator().manual_seed(0)
        hidden = policy.lstm_actor.hidden_size
        zeros = torch.zeros(1, 4, hidden)
        observations = torch.randn(4 * 50, 4, generator=draw)
        starts = (torch.rand(4 * 50, generator=draw) < 0.1).float()
        states = SimpleNamespace(pi=(zeros, zeros), vf=(zeros, zeros))
        with torch.no_grad():
            values, log_prob, _ = policy.evaluate_actions(
                observations, torch.zeros(4 * 50), states, starts
            )
        return torch.cat([values.flatten(), log_prob])

    return Case(
        "sb3-contrib RecurrentPPO, reinforcement learning",
        tuple(lambda m=m: acted(m) for m in models),
        {
            "learning from 256 steps": tuple(
                lambda m=m: m.learn(256, reset_num_timesteps=False) for m in models
            ),
        },
        said,
    )


CASES = {"darts": darts, "recbole": recbole, "sb3-contrib": sb3_contrib}


def difference(case: Case) -> float:
    """The largest difference of the two outputs relative to the largest output."""
    want, found = (output().double() for output in case.outputs)
    assert want.shape == found.shape
    return float((want - found).abs().max() / want.abs().max())


def seconds(works: tuple[Work, Work], rounds: int) -> tuple[float, float]:
    """Median seconds of each, run in turns after one round of warming up."""
    taken: list[list[float]] = [[], []]
    for k in range(rounds + 1):
        for one, times in zip(works, taken, strict=True):
            begun = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                one()
            if k:
                times.append(time.perf_counter() - begun)
    torchs, ours = (statistics.median(times) for times in taken)
    return torchs, ours


def main() -> None:
    """Print agreement and times of the packages asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", help=f"of {', '.join(CASES)}; all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    for name in options.packages or CASES:
        case = CASES[name]()
        print(f"{case.title}; largest relative difference {difference(case):.1e}")
        for line in case.swapped:
            print(f"  {line}")
        for what, works in case.work.items():
            torchs, ours = seconds(works, options.rounds)
            ratio = torchs / ours
            print(f"  {what}: torch {torchs:.3f} s, grus {ours:.3f} s, {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
