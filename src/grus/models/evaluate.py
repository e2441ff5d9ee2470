"""Bits per character of a model on text it has not trained on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from grus.models.batches import IGNORED
from grus.models.language import LanguageModel, State

MAX_SCORES = 2**22  # scores held at once: 16 MiB in float32


@torch.no_grad()
def mean_loss(model: LanguageModel, inputs: Tensor, targets: Tensor) -> float:
    """Mean cross-entropy in nats over the targets that are not IGNORED.

    ``inputs`` and ``targets`` are [time, rows]; the state is carried from the first row to the
    last, without dropout.
    """
    was_training = model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64)
    state: State | None = None
    stride = max(1, MAX_SCORES // (inputs.shape[1] * model.linear.out_features))
    for x, y in zip(torch.split(inputs, stride), torch.split(targets, stride), strict=True):
        scores, state = model(x, state)
        total += functional.cross_entropy(
            scores.flatten(0, 1), y.flatten(), ignore_index=IGNORED, reduction="sum"
        )
    model.train(was_training)
    return float(total) / int((targets != IGNORED).sum())


def bits(nats: float) -> float:
    """Nats to bits."""
    return nats / math.log(2)
