"""How a call is shared among threads: a model of the time of each way, and the way that it favours.

- *alone*: one thread does all.
- *rows*: each thread takes rows of the batch and waits for nobody.
- *hidden*: all threads work on the same rows, each on hidden units of its own, and meet at a
  barrier after each stage whose whole rows somebody reads.
- *together* (`several_calls`): calls that wait for parts of each other at most, a thread each: the
  two directions of a layer, layers one behind the other in time.

With n threads, S steps, B rows, in microseconds:

    alone  = pack + ahead + S step(B)
    rows   = WAKE + pack / n + ahead(b) + S step(b),     b = rows of the fullest thread
    hidden = WAKE + (pack + ahead + S step(B)) share + S BARRIER barriers
    step(b) = products b / FAST + products (1 / SLOW - 1 / FAST) if b is odd + units b UNIT

    calls together = WAKE + PIECE calls + the longest of them alone, or their sum / n
    L layers in P pieces of time = WAKE + PIECE L P + sum alone / m (1 + (m - 1) / P)

with m = min(n, L);

``share`` is the part of the units that the fullest thread has. A product of two rows and more
reads a weight once for several multiply-adds and runs at the speed of arithmetic; a row by itself
runs at the speed of the cache that holds the panels. `benchmarks/splits.py` compares the choice
with every single way, shape by shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from grus.kernels import threads

Way = Literal["alone", "rows", "hidden"]

# These fit `benchmarks/splits.py` on two Zen 4 cores: over its 23 shapes the choice took at worst
# 1.13 times the fastest way, in the middle 0.99.
FAST = 48_000.0
"""Multiply-adds a microsecond of one thread where arithmetic is the limit."""
CACHES = ((24 * 1024, 45_000.0), (512 * 1024, 27_000.0), (1024 * 1024, 18_000.0))
"""Multiply-adds of one row where panels of so many bytes are read for each."""
MEMORY = 12_000.0
"""The same where no cache of the thread's own holds them."""
UNIT = 0.002
"""What the equations of a unit of a row take."""
PACK = 16_000.0
"""Bytes of weights packed in a microsecond."""
WAKE = 12.0
"""Until a second thread works, and until it has been waited for."""
BARRIER = 0.3
"""A meeting of all threads."""
PIECE = 6.0
"""What it takes to lay out one of several calls that run together."""
SHARE = 120.0
"""What it takes to lay out a share of the rows of a call and to wake a thread of Python for it."""
CLEAR = 0.9
"""Calls run together where that takes less than so much of their time in turn."""

forced: Way | None = None
"""The way of every call that may have several threads; None asks the model."""


class Split(NamedTuple):
    """Threads, and whether they share hidden units rather than rows."""

    threads: int
    by_hidden: bool

    @property
    def slices(self) -> int:
        """Parts with rows of their own."""
        return 1 if self.by_hidden else self.threads

    def release(self) -> None:
        """After a call whose split was chosen: others may share hidden units again."""
        if self.by_hidden:
            threads.hidden_split.release()


@dataclass(frozen=True, eq=False)
class Work:
    """What a call has to do, as far as the ways to share it differ."""

    steps: int
    batch: int
    inside: int
    """Multiply-adds of a step of one row."""
    ahead: int
    """The same of the products with x."""
    units: int
    """Units of all stages."""
    weights: int
    """Bytes of the weights that are packed."""
    panels: int
    """Those of them that are read in each step."""
    barriers: int
    tiles: int
    """Vectors of hidden units."""
    chosen: dict[tuple[int, Way | None], Split] = field(default_factory=dict)
    """The split by number of threads, as far as it was asked for."""

    def step(self, rows: int, threads: int = 1) -> float:
        """Microseconds of a step of so many rows on one thread, or of its share of the units."""
        panels = self.panels / threads
        slow = next((speed for size, speed in CACHES if panels <= size), MEMORY)
        single = self.inside * (1 / slow - 1 / FAST) if rows % 2 else 0.0
        return rows * (self.inside / FAST + self.units * UNIT) + single

    def before(self, rows: int) -> float:
        """Microseconds of the products with x."""
        return self.steps * rows * self.ahead / FAST

    @cached_property
    def alone(self) -> float:
        """Microseconds on one thread."""
        return self.weights / PACK + self.before(self.batch) + self.steps * self.step(self.batch)

    def rows(self, threads: int) -> float:
        """Microseconds with rows of the batch shared."""
        most = -(-self.batch // threads)
        packing = self.weights / PACK / threads
        return WAKE + packing + self.before(most) + self.steps * self.step(most)

    def hidden(self, threads: int) -> float:
        """Microseconds with hidden units shared."""
        share = -(-self.tiles // threads) / self.tiles
        waits = self.steps * self.barriers * BARRIER
        once = (self.weights / PACK + self.before(self.batch)) * share
        return WAKE + once + self.steps * self.step(self.batch, threads) * share + waits

    def best(self, threads: int) -> Split:
        """The fastest way with at most so many threads."""
        key = threads, forced
        if key not in self.chosen:
            self.chosen[key] = self._best(threads)
        return self.chosen[key]

    def _best(self, threads: int) -> Split:
        some, several = max(1, min(threads, self.batch)), min(threads, self.tiles)
        ways = [(self.alone, Split(1, False))]
        if some > 1:
            ways.append((self.rows(some), Split(some, False)))
        if several > 1:
            ways.append((self.hidden(several), Split(several, True)))
        if forced:
            wanted = {"alone": (1, False), "rows": (some, False), "hidden": (threads, True)}[forced]
            return Split(*wanted)
        return min(ways, key=lambda way: way[0])[1]

    def time(self, threads: int) -> float:
        """Microseconds the fastest way."""
        split = self.best(threads)
        if split.threads == 1:
            return self.alone
        return self.hidden(split.threads) if split.by_hidden else self.rows(split.threads)


def pays(works: Sequence[Work]) -> bool:
    """Whether calls that do not wait for each other are faster at once, a thread each."""
    if forced is not None:
        return False
    in_turn_alone = sum(work.alone for work in works)
    if in_turn_alone < 2 * WAKE:
        return False
    available = threads.limit()
    if available < 2:
        return False
    shared = in_turn_alone / min(available, len(works))
    at_once = WAKE + PIECE * len(works) + max(shared, *(work.alone for work in works))
    return at_once < CLEAR * sum(work.time(available) for work in works)


def wave_pays(works: Sequence[Work], pieces: int) -> bool:
    """Whether layers one behind the other in time, in so many pieces each, are faster than one
    layer after the other."""
    alone = sum(work.alone for work in works)
    if forced is not None or alone < 2 * WAKE:
        return False
    available = threads.limit()
    lanes = min(available, len(works))
    if lanes < 2 or pieces < 2:
        return False
    # The last lane begins when the first has done a piece for each lane before it.
    at_once = WAKE + PIECE * len(works) * pieces + alone / lanes * (1 + (lanes - 1) / pieces)
    return at_once < CLEAR * sum(work.time(available) for work in works)


def row_shares(work: Work, most: int | None) -> int:
    """In how many shares of its rows a call goes to Python's threads, where OpenMP has none."""
    if most == 1 or work.alone < 2 * SHARE or forced is not None:
        return 1
    available = min(threads.python_threads(), work.batch, most or work.batch)
    if available < 2:
        return 1

    def time(count: int) -> float:
        rows = -(-work.batch // count)
        once = work.weights / PACK + work.before(rows)  # each thread packs for itself
        return SHARE * count + once + work.steps * work.step(rows)

    best = min(range(2, available + 1), key=time)
    return best if time(best) < CLEAR * work.alone else 1


ALONE = Split(1, False)


def choose(work: Work, most: int | None) -> Split:
    """The split of a call with at most ``most`` threads (None: as many as there are). Where it is
    by hidden units, nobody else shares them before its `release`."""
    if most == 1 or (forced is None and work.alone < 2 * WAKE):
        return ALONE
    available = threads.limit() if most is None else min(threads.limit(), most)
    if available == 1:
        return ALONE
    split = work.best(available)
    if split.threads == 1:
        return ALONE
    # Somebody else's barriers may be under way: two such regions could starve each other.
    if not split.by_hidden or threads.hidden_split.acquire(blocking=False):
        return split
    return ALONE
