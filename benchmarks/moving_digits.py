"""The next frame of moving digits: a convolutional GRU beside fully connected ones.

    python benchmarks/moving_digits.py IMAGES [--steps 400] [--seeds 5]

IMAGES is MNIST's t10k-images-idx3-ubyte.gz. Two digits of 7 x 7 move straight over 16 x 16 frames
and bounce off the edges; a model reads a frame at each of 12 steps and predicts the next one. The
digits of the test sequences are in no training sequence. Scores are cross-entropies in nats a
frame, from the fourth frame on. All models see the same sequences, and are trained by Adam with
the same number of steps, the rate rising over the first 50, and begin at the mean shade: begun at
grey, one or two ConvGRUs in five learn a black frame at once and stay there.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import grus

SIDE, DIGIT, TIME, SEEN = 16, 7, 12, 3
RATE, RISING = 1e-2, 50
Array = np.ndarray[Any, np.dtype[Any]]


def digits(path: Path) -> Array:
    """MNIST's digits as [digit, 7, 7] in 0..1: means of 4 x 4."""
    pixels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16)
    return pixels.reshape(-1, DIGIT, 4, DIGIT, 4).mean((2, 4)) / 255


def sequences(images: Array, count: int, rng: np.random.Generator) -> Tensor:
    """Frames [time + 1, sequence, 1, side, side] of two moving digits each."""
    free = SIDE - DIGIT
    frames = np.zeros((TIME + 1, count, 1, SIDE, SIDE), np.float32)
    for row in range(count):
        for _ in range(2):
            image = images[rng.integers(len(images))]
            at, speed = rng.uniform(0, free, 2), rng.uniform(-2, 2, 2)
            for now in range(TIME + 1):
                # A path of constant speed, folded at the edges.
                y, x = (free - np.abs((at + now * speed) % (2 * free) - free)).round().astype(int)
                part = frames[now, row, 0, y : y + DIGIT, x : x + DIGIT]
                np.maximum(part, image, out=part)
    return torch.from_numpy(frames)


class Convolutional(nn.Module):
    """A ConvGRU, and a pixel from the channels at its position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = grus.Recurrent("conv_gru", 1, channels, grid=(SIDE, SIDE))
        self.pixels = nn.Linear(channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of the next frames."""
        output = self.layer(frames)[0]
        return self.pixels(output.movedim(2, -1)).movedim(-1, 2)  # type: ignore[no-any-return]


class Connected(nn.Module):
    """A GRU over all pixels at once."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layer = grus.GRU(SIDE * SIDE, hidden)
        self.pixels = nn.Linear(hidden, SIDE * SIDE)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of the next frames."""
        output = self.layer(frames.flatten(2))[0]
        return self.pixels(output).view(frames.shape)  # type: ignore[no-any-return]


def size(model: nn.Module) -> int:
    """How many parameters a model has."""
    return sum(p.numel() for p in model.parameters())


def score(model: nn.Module, frames: Tensor) -> Tensor:
    """Nats a frame, from the fourth on."""
    logits, wanted = model(frames[:-1])[SEEN:], frames[1 + SEEN :]
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    return loss / (wanted.shape[0] * wanted.shape[1])


def train(model: nn.Module, images: Array, steps: int, seed: int) -> None:
    """So many steps of 8 sequences."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    rise = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1.0, (k + 1) / RISING))
    for _ in range(steps):
        optimizer.zero_grad()
        score(model, sequences(images, 8, rng)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 100)
        optimizer.step()
        rise.step()


def main() -> None:
    """Train each model with each seed; print scores and what they say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images = digits(asked.images)
    training, held_out = images[:8000], images[8000:]
    test = sequences(held_out, 200, np.random.default_rng(10**6))
    mean = sequences(training, 200, np.random.default_rng(0)).mean()
    flat = functional.binary_cross_entropy(mean.expand(test[0].shape), test[0], reduction="sum")
    print(f"one shade everywhere: {flat / len(test[0]):.1f} nats a frame")
    models: dict[str, Callable[[], Convolutional | Connected]] = {
        "GRU of equal parameters": lambda: Connected(7),
        "GRU of 128 units": lambda: Connected(128),
        "ConvGRU, 16 channels": lambda: Convolutional(16),
    }
    for name, make in models.items():
        begun, scores = time.perf_counter(), []
        for seed in range(asked.seeds):
            torch.manual_seed(seed)
            model = make()
            nn.init.constant_(model.pixels.bias, float(mean.logit()))
            train(model, training, asked.steps, seed)
            with torch.no_grad():
                scores.append(float(score(model, test)))
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        each = " ".join(f"{value:.1f}" for value in scores)
        took = time.perf_counter() - begun
        result = f"{statistics.mean(scores):6.1f} +- {spread:.1f}  ({each})"
        print(f"{name:24} {size(make()):7,} parameters  {result}  {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
