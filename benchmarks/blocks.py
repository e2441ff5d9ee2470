"""A GRU of block-diagonal weights against a dense one and against as many small ones.

    python benchmarks/blocks.py [--hidden 512] [--blocks 8] [--rounds 15]

50 steps of 1 and of 32 rows, I = H, float32, one thread: processor time, the least of many rounds
in turn, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

import grus

STEPS = 50


def forward(layers: Sequence[grus.GRU], parts: Sequence[Tensor]) -> None:
    """The outputs of all layers, each of its own part."""
    with torch.no_grad():
        for layer, part in zip(layers, parts, strict=True):
            layer(part)


def backward(layers: Sequence[grus.GRU], parts: Sequence[Tensor]) -> None:
    """The same and all gradients."""
    for layer, part in zip(layers, parts, strict=True):
        layer.zero_grad()
        layer(part.detach().requires_grad_())[0].sum().backward()


def least(calls: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Processor time of each in milliseconds."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, found, strict=True):
            begin = time.process_time()
            call()
            times.append(1e3 * (time.process_time() - begin))
    return [min(times) for times in found]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    hidden, blocks = asked.hidden, asked.blocks
    part = hidden // blocks
    layers = [
        [grus.GRU(hidden, hidden, blocks=blocks)],
        [grus.GRU(hidden, hidden)],
        [grus.GRU(part, part) for _ in range(blocks)],
    ]
    print(f"H {hidden}, {blocks} blocks: blocks, dense, {blocks} calls; ms, and to the first")
    for batch in (1, 32):
        x = torch.randn(STEPS, batch, hidden)
        inputs = [[x], [x], [piece.contiguous() for piece in x.chunk(blocks, dim=-1)]]
        for run in (forward, backward):
            calls = [partial(run, *pair) for pair in zip(layers, inputs, strict=True)]
            first, *others = least(calls, asked.rounds)
            shown = ", ".join(f"{ms:.2f} ({ms / first:.1f} times)" for ms in others)
            print(f"{batch:2} rows, {run.__name__}: {first:.2f}, {shown}")


if __name__ == "__main__":
    main()
