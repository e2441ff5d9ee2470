"""How a call is shared among threads, chosen from its sizes.

By rows: each thread takes rows of the batch and waits for nobody. By hidden units: all threads
work on the same rows and meet at a barrier after each stage. Or one thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from grus.kernels import threads

ONE_THREAD_BELOW = 400_000
"""Multiply-adds of a whole call below which waking a second thread costs more than it brings."""
ELEMENTWISE = 64
"""What a unit costs, in multiply-adds, in a cell without any product."""
BARRIER_ABOVE = 40_000
"""Multiply-adds of one step above which a barrier costs less than it saves."""
ROWS_PER_THREAD = 4
"""Rows from which a thread's tiles are efficient enough to need no barrier."""


@dataclass(frozen=True)
class Split:
    """Threads, and whether they share hidden units rather than rows."""

    threads: int
    by_hidden: bool

    @property
    def slices(self) -> int:
        """Parts with rows of their own."""
        return 1 if self.by_hidden else self.threads

    @staticmethod
    def choose(
        products: int, steps: int, batch: int, hidden: int, tiles: int, most: int | None
    ) -> Held:
        """The split of a call with so many products a step and at most ``most`` threads (None: as
        many as there are)."""
        step = batch * hidden * (products * hidden or ELEMENTWISE)
        if most == 1 or step * steps < ONE_THREAD_BELOW:
            return ALONE
        available = min(threads.limit(), most or tiles * batch)
        if available == 1:
            return ALONE
        if batch >= ROWS_PER_THREAD * available:
            return Held(Split(available, False))
        if step < BARRIER_ABOVE or tiles < available:
            return Held(Split(max(1, min(available, batch)), False))
        if threads.hidden_split.acquire(blocking=False):
            return Held(Split(available, True))
        # Somebody else's barriers are under way: two such regions could starve each other.
        return ALONE


class Held:
    """A split while a call runs: ``with`` it, so that hidden units can be shared again after it."""

    __slots__ = ("split",)

    def __init__(self, split: Split) -> None:
        self.split = split

    def __enter__(self) -> Split:
        return self.split

    def __exit__(self, *_: object) -> None:
        if self.split.by_hidden:
            threads.hidden_split.release()


ALONE = Held(Split(1, False))
