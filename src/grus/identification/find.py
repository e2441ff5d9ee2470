"""`identify`: which dialects explain an example; and its answer, what fits, what does not, and how
sure that is, as a frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.dialects import DIALECTS, Network
from grus.dialects.tensor_layout import stacked
from grus.equations import Cell
from grus.errors import InputError
from grus.identification.apart import Apart, apart, elsewhere, named
from grus.identification.fit import fits
from grus.identification.given import decimals, numbers, rounding, weights_of
from grus.identification.hypotheses import Hypothesis, Try, Weighted, functions, search, trial
from grus.identification.mine import Mine, explain
from grus.identification.signs import Proof, impossible
from grus.identification.tolerance import LIKELY, SURE, WOBBLE, Digits, odds, tolerance

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


BEST = 12
NEAREST = 3


def identify(
    tensors: Mapping[str, Array] | Sequence[Array],
    x: Array,
    y: Array | float,
    h0: Array | tuple[Array, ...] | None = None,
    *,
    digits: int | None = None,
    mine: Array | float | None = None,
    mine_digits: int | None = None,
) -> Answer:
    """Which dialects explain that these weights turn ``x`` into ``y``.

    ``tensors`` are the weights of one layer in one direction, by name or as plain arrays, matrices
    first (input, then recurrent), in the order in which a framework lists them. Names that a
    dialect uses say which tensor is which, never in which order its gates are.
    ``x``: [time, input] of one sequence, or of a batch with time or batch first; one number a
    step may come flat. ``y``: every output or the last one, [..., hidden]. ``h0``: the initial
    state [hidden] or [batch, hidden], a tuple of them for an LSTM (h, c); zeros by default.
    ``digits``: the decimals that y was printed with; where it is not given and y holds numbers of
    9 digits or fewer, as many as the longest of them has. ``mine``: a last state that somebody
    got by hand; the answer says which slips give it.

    Tried are the place of the reset, the sense of z, every order of the gates, rows and columns,
    the forms of biases, the activations, both directions, and what y is: see `variants`, `fit`
    and `views`. An answer matches within a tolerance (`grus.identification.tolerance` derives
    it), or nothing does; the nearest is reported as such.

    Raises InputError for arrays that are not finite numbers, of shapes that no cell's weights
    have, or of several layers, and for an example whose shapes do not fit them.
    """
    given = weights_of(tensors)
    steps, claimed = numbers("x", x), numbers("y", y)
    states = h0 if isinstance(h0, tuple) else () if h0 is None else (h0,)
    start = tuple(numbers("h0", one) for one in states) or None
    written = decimals(y) if digits is None else digits
    unit = 2.0**-24 if written is not None else rounding(y, claimed)
    precision = Digits(unit, written)
    tried = functions(fits(given, steps.shape[-1] if steps.ndim > 1 else None))
    near = precision.half + WOBBLE * max(1.0, float(np.abs(claimed).max()))
    ranked, trials = search(tried, steps, claimed, start, BEST, near)
    if not trials:
        raise InputError(_no_view(tried, steps, claimed, start))
    ranked = _once(ranked)
    close = [k for k, one in enumerate(ranked) if one.error <= tolerance(one, precision, False)]
    judged = [
        _judge(one, precision, trials, k in close or k < len(close) + NEAREST)
        for k, one in enumerate(ranked)
    ]
    fitting = [one for one in judged if one.error <= one.tolerance]
    matches = tuple(one for one in fitting if one.odds <= SURE)
    known = _known(tried, steps, claimed, start)
    contenders = _contenders(matches)
    told = apart(contenders) if len(matches) > 1 else None
    return Answer(
        matches=matches,
        undecided=tuple(one for one in fitting if one.odds > SURE),
        nearest=tuple(one for one in judged if one.error > one.tolerance)[:NEAREST],
        known=tuple(_judge(one, precision, trials, False) for one in known),
        trials=trials,
        hypotheses=sum(len(one.hypotheses) for one in tried),
        functions=len(tried),
        digits=written,
        numbers=claimed.size,
        apart=told,
        elsewhere=_elsewhere(contenders, told),
        mine=None if mine is None else _mine(matches, ranked, known, mine, mine_digits),
    )


def _judge(one: Try, precision: Digits, trials: int, measured: bool) -> Found:
    """A trial with its tolerance, its odds, and where there is one the proof that it cannot be."""
    allowed = tolerance(one, precision, measured)
    function = one.function
    found = one.error <= allowed
    return Found(
        dialects=function.dialects,
        options=function.options,
        papers=function.papers,
        said=function.said,
        example=one.view.said,
        error=one.error,
        tolerance=allowed,
        odds=odds(trials, allowed, one.view.y.size),
        y=one.outputs(),
        network=_network(function),
        hypotheses=tuple(function.hypotheses),
        impossible=None if found else impossible(function, one.view, allowed),
    )


def _network(function: Weighted) -> Network:
    cell = function.cell
    return Network(cell, ((stacked(cell, function.weights),),))


def _once(ranked: list[Try]) -> list[Try]:
    """Each function in the reading of the example in which it fits best."""
    kept: dict[int, Try] = {}
    for one in ranked:
        kept.setdefault(id(one.function), one)
    return list(kept.values())


def _known(tried: list[Weighted], x: Array, y: Array, start: tuple[Array, ...] | None) -> list[Try]:
    """Every function that is a dialect's, forward, in the order of the records."""
    places = {one.name: k for k, one in enumerate(DIALECTS)}
    listed = [f for f in tried if f.dialects]
    listed.sort(key=lambda f: min(places[name] for name in f.dialects))
    found = [trial(function, x, y, start) for function in listed]
    return [one for one in found if one is not None]


def _contenders(matches: tuple[Found, ...]) -> list[Hypothesis]:
    """What is left: one hypothesis for each name, those of no dialect where there is no other."""
    found: dict[str, Hypothesis] = {}
    for match in matches:
        dialects = [one for one in match.hypotheses if one.dialects]
        for one in dialects or match.hypotheses[:1]:
            found.setdefault(named(one), one)
    return list(found.values())


def _elsewhere(contenders: list[Hypothesis], told: Apart | None) -> Apart | None:
    """An example with other weights, where these leave two contenders alike."""
    left = len(set(told.groups)) if told is not None else 1
    return elsewhere(contenders) if len(contenders) > left else None


def _mine(
    matches: tuple[Found, ...],
    ranked: list[Try],
    known: list[Try],
    value: Array | float,
    digits: int | None,
) -> Mine:
    """Slips on what matches; where nothing does, on every dialect of these weights."""
    mine = numbers("mine", value)
    written = decimals(value) if digits is None else digits
    half = 0.5 * 10.0**-written if written is not None else 1e-6
    bases = (ranked[: len(matches)] if matches else known) or ranked[:1]
    named_bases = [(b.function.dialects or (b.function.said,), b.function) for b in bases]
    return explain(named_bases, bases[0].view, mine, written, half)


def _no_view(tried: list[Weighted], x: Array, y: Array, start: tuple[Array, ...] | None) -> str:
    sizes = sorted({(one.hidden, one.inputs) for one in tried})
    told = " or ".join(f"{h} units and {i} features a step" for h, i in sizes[:3])
    begun = "" if start is None else f", h0 of shape {', '.join(str(s.shape) for s in start)}"
    return (
        f"the weights are for {told}; x of shape {x.shape} and y of shape {y.shape}{begun} are no"
        " example of that"
    )
