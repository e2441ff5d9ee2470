"""How long does it take? Two layers timed in turns, so that whatever else happens meets both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from grus_benchmarks.pair import Pair, gradients

BLOCK = 0.02  # seconds that a block lasts at least
KINDS = ("forward", "forward+backward", "forward+backward, dx")


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, block by block, for each layer."""

    blocks: dict[str, tuple[float, ...]]

    def median(self, layer: str) -> float:
        """The median over the blocks, in seconds."""
        return statistics.median(self.blocks[layer])

    @property
    def ratio(self) -> float:
        """How many times as fast the first layer is as the second."""
        first, second = self.blocks
        return self.median(second) / self.median(first)


def calls(pair: Pair, kind: str) -> dict[str, Callable[[], object]]:
    """What is timed, by layer: forward without gradients, or forward and backward."""
    import torch

    def forward(layer: torch.nn.Module) -> object:
        with torch.no_grad():
            return layer(pair.x)

    def both(layer: torch.nn.Module) -> object:
        return gradients(layer, pair.x, pair.dy, with_x=kind == KINDS[2])

    run = forward if kind == KINDS[0] else both
    return {name: partial(run, layer) for name, layer in pair.layers.items()}


def measure(functions: dict[str, Callable[[], object]], blocks: int) -> Timing:
    """Time the functions in turns: A B A B ..., each block long enough for the clock."""
    repeats = {name: _repeats(function) for name, function in functions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(blocks):
        for name, function in functions.items():
            seconds[name].append(_seconds(function, repeats[name]) / repeats[name])
    return Timing({name: tuple(found) for name, found in seconds.items()})


def _repeats(function: Callable[[], object]) -> int:
    """How many calls make a block; called twice before, so that compiling is not counted."""
    _seconds(function, 2)
    count = 1
    while True:
        taken = _seconds(function, count)
        if taken >= BLOCK:
            return count
        count = max(count + 1, min(10 * count, int(count * BLOCK / max(taken, 1e-7)) + 1))


def _seconds(function: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        function()
    return time.perf_counter() - begin
