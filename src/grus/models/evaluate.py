"""Bits per character of a model on text it has not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from grus.models.batches import IGNORED
from grus.models.language import LanguageModel, State

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
