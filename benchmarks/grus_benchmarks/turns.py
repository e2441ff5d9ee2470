"""Two processes in turns, A B B A, so that a drift of the machine meets both alike.

Functions of one process take turns by `measure`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, exp, log

Run = Callable[[int, int], float]
"""Seconds that ``count`` calls take in a process, after ``before`` calls that do not count."""
BLOCK = 0.02  # seconds that a block lasts at least, where a call is shorter
REST = 0.01  # seconds for idle threads of the last process to fall asleep
FEWEST, MOST = 2, 10  # rounds of A B B A


@dataclass(frozen=True)
class Turns:
    """Seconds of one call, block by block."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times as fast ours is: medians over the blocks."""
        return statistics.median(self.theirs) / statistics.median(self.ours)


def spread(seconds: Sequence[float]) -> float:
    """The distance between the quartiles as a part of the median; 0 for one block."""
    if len(seconds) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (high - low) / middle


def geometric_mean(ratios: Sequence[float]) -> float:
    """exp of the mean of logarithms. Raises ValueError for none."""
    if not ratios:
        raise ValueError("a geometric mean of no ratios")
    return exp(sum(map(log, ratios)) / len(ratios))


def rounds(block_a: float, block_b: float, budget: float) -> int:
    """How many times A B B A fits the budget, within FEWEST and MOST."""
    return min(MOST, max(FEWEST, int(budget / (2 * (block_a + block_b)))))


def take_turns(
    ours: Run,
    theirs: Run,
    budget: float,
    rest: Callable[[float], object] = time.sleep,
    blocks: int | None = None,
) -> Turns:
    """Time both in blocks A B B A for about ``budget`` seconds, or ``blocks`` of each."""
    runs = (ours, theirs)
    seconds: tuple[list[float], list[float]] = ([], [])
    each = [_one_call(run) for run in runs]
    counts = [max(1, ceil(BLOCK / one)) for one in each]
    before = [_before(one) for one in each]
    lasts = [one * (count + b) for one, count, b in zip(each, counts, before, strict=True)]
    last = None
    many = blocks or 2 * rounds(lasts[0], lasts[1], budget)
    for who in ((0, 1, 1, 0) * many)[: 2 * many]:
        if who != last:
            rest(REST)
        seconds[who].append(runs[who](counts[who], before[who]) / counts[who])
        last = who
    return Turns(tuple(seconds[0]), tuple(seconds[1]))


def _one_call(run: Run) -> float:
    """Seconds of one call, roughly; it has been called before, for its answer."""
    first = run(1, 0)
    if first > BLOCK:
        return first
    count = max(1, int(BLOCK / 4 / max(first, 1e-7)))
    return max(run(count, 0) / count, 1e-9)


def _before(one: float) -> int:
    """Calls before a block that wake threads and fill caches; none where a call is long itself."""
    return 0 if one > 5 * BLOCK else 1


# Functions of one process.


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


def measure(functions: dict[str, Callable[[], object]], blocks: int) -> Timing:
    """Time the functions in turns: A B A B ..., each block long enough for the clock."""
    repeats = {name: _calls_in_a_block(function) for name, function in functions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(blocks):
        for name, function in functions.items():
            seconds[name].append(_seconds(function, repeats[name]) / repeats[name])
    return Timing({name: tuple(found) for name, found in seconds.items()})


def _calls_in_a_block(function: Callable[[], object]) -> int:
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
