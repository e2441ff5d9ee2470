"""The answer of `identify`: what fits, what does not, and how sure that is, as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grus.dialects.network import Network
from grus.equations import Cell
from grus.identification.apart import Apart
from grus.identification.functions import Hypothesis
from grus.identification.mine import Mine
from grus.identification.signs import Proof
from grus.identification.tolerance import LIKELY

Array = Any


@dataclass(frozen=True, eq=False)
class Found:
    """One function of the weights given, and how it fits the example."""

    dialects: tuple[str, ...]
    """The dialects that are this function with these weights; () where none is known."""
    options: tuple[str, ...]
    """The dialects that are this with activations that their users can choose."""
    papers: tuple[str, ...]
    """Papers and pages that print these equations."""
    said: str
    """The equations and how the weights were read, in words."""
    example: str
    """How the example was read: direction, and what y is."""
    error: float
    """The largest absolute difference from y."""
    tolerance: float
    """What a right answer may be off by: see `tolerance`."""
    odds: float
    """The odds that one of all the hypotheses comes so near to a y it has nothing to do with."""
    y: Array
    """What it gives for y, in y's shape."""
    network: Network
    """The weights in house form, ready to run or to be converted."""
    hypotheses: tuple[Hypothesis, ...]
    impossible: Proof | None = None
    """Where the signs alone show that y cannot come of it."""

    @property
    def cell(self) -> Cell:
        """The equations."""
        return self.network.cell

    @property
    def name(self) -> str:
        """The dialects, or the equations in words."""
        return ", ".join(self.dialects) or self.said


@dataclass(frozen=True, eq=False)
class Answer:
    """Which dialects explain an example."""

    matches: tuple[Found, ...]
    """What fits within the tolerance, with odds of a chance hit of 1 in 100 or less; by error.
    Several: this example does not tell them apart."""
    undecided: tuple[Found, ...]
    """What fits within the tolerance, where so few digits fit by chance."""
    nearest: tuple[Found, ...]
    """What does not fit, the nearest first."""
    known: tuple[Found, ...]
    """What each dialect that stores weights of these shapes gives, fitting or not."""
    trials: int
    """The hypotheses tried: functions, each in every direction and reading of y."""
    hypotheses: int
    """The sets of equations and readings before those that are one function were merged."""
    functions: int
    """The functions that they are."""
    digits: int | None
    """The decimals that y was written with; None where y is a computed array."""
    numbers: int
    """How many numbers y holds."""
    apart: Apart | None
    """An example that tells the matches apart, where there are several with these weights."""
    elsewhere: Apart | None
    """The same with other weights, for what these weights never tell apart."""
    mine: Mine | None
    """What explains one's own result, where one was given."""

    @property
    def dialects(self) -> tuple[str, ...]:
        """The dialects that match; () where nothing does."""
        return tuple(dict.fromkeys(name for one in self.matches for name in one.dialects))

    @property
    def likely(self) -> tuple[Found, ...]:
        """What is undecided, where a chance hit has odds of 1 in 10 or less; () beside matches."""
        return () if self.matches else tuple(one for one in self.undecided if one.odds <= LIKELY)

    def __bool__(self) -> bool:
        """True where something matches."""
        return bool(self.matches)
