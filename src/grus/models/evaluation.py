"""A trained model at work: bits per character of a text, and writing one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from grus.models.batches import IGNORED
from grus.models.language import LanguageModel, State
from grus.models.settings import check

MAX_SCORES = 2**22  # scores held at once: 16 MiB in float32


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in evaluation mode; afterwards each module has the mode that it had."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@torch.no_grad()
def mean_loss(model: LanguageModel, inputs: Tensor, targets: Tensor) -> float:
    """Mean cross-entropy in nats over the targets that are not IGNORED.

    ``inputs`` and ``targets`` are [time, rows]; the state is carried from the first row to the
    last, without dropout.
    """
    total = torch.zeros((), dtype=torch.float64)
    state: State | None = None
    stride = max(1, MAX_SCORES // (inputs.shape[1] * model.linear.out_features))
    with evaluating(model):
        for x, y in zip(torch.split(inputs, stride), torch.split(targets, stride), strict=True):
            scores, state = model(x, state)
            total += functional.cross_entropy(
                scores.flatten(0, 1), y.flatten(), ignore_index=IGNORED, reduction="sum"
            )
    return float(total) / int((targets != IGNORED).sum())


def bits(nats: float) -> float:
    """Nats to bits."""
    return nats / math.log(2)


def readable(perplexity: float) -> str:
    """``12.34``; from a million on ``1.23e+09``."""
    return f"{perplexity:.2f}" if perplexity < 1e6 else f"{perplexity:.3g}"


def sample(
    model: LanguageModel,
    prompt: str = "",
    length: int = 500,
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """An iterator over ``length`` symbols that follow ``prompt``.

    The probabilities are softmax(scores / temperature); temperature 0 takes the likeliest symbol.
    Without a prompt the model starts as after a newline (a space, or its first symbol, where it
    knows no newline).

    Raises InputError at once for a symbol of the prompt that the model does not know, a negative
    length or temperature.
    """
    check(length >= 0, f"the length must be 0 or more, got {length}")
    warm = math.isfinite(temperature) and temperature >= 0
    check(warm, f"the temperature must be a number of 0 or more, got {temperature}")
    check(0 <= seed < 2**63, f"the seed must lie in [0, 2^63), got {seed}")
    vocabulary = model.architecture.vocabulary
    start = next((c for c in "\n " if c in vocabulary.symbols), vocabulary.symbols[0])
    read = torch.from_numpy(vocabulary.encode(vocabulary.split(prompt) or start))
    return _symbols(model, read, length, temperature, seed)


def _symbols(
    model: LanguageModel, read: Tensor, length: int, temperature: float, seed: int
) -> Iterator[str]:
    generator = torch.Generator().manual_seed(seed)
    state: State | None = None
    with torch.no_grad(), evaluating(model):
        for symbol in read[:-1]:
            _, state = model.step(symbol[None], state)
    symbol = read[-1]
    for _ in range(length):
        with torch.no_grad(), evaluating(model):
            scores, state = model.step(symbol[None], state)
        symbol = _draw(scores[0], temperature, generator)
        yield model.architecture.vocabulary.symbols[int(symbol)]


def _draw(scores: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return scores.argmax()
    above = scores.double() - scores.max()  # at most 0, so that a tiny temperature gives no NaN
    return torch.multinomial(torch.softmax(above / temperature, 0), 1, generator=generator)[0]
