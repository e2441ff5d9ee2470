"""An example that tells functions apart: random, small, printable, and run to see that it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects.tensor_layout import Tensor
from grus.identification.fit import Fit
from grus.identification.given import GivenTensor, Stacked
from grus.identification.hypotheses import Hypothesis, Weighted

Array = Any
DRAWS = 40
STEPS = 3
CLEAR = 1e-3  # a difference that shows in three decimals


@dataclass(frozen=True, eq=False)
class Apart:
    """An example on which what could not be told apart differs."""

    said: tuple[str, ...]
    """The contenders: names of dialects, or equations in words."""
    x: Array
    """[time, input]: one sequence."""
    h0: tuple[Array, ...]
    """The initial states, each [hidden]."""
    y: tuple[Array, ...]
    """The outputs of each contender, [time, hidden], by the reference."""
    groups: tuple[int, ...]
    """A number for each contender; those with the same number are not told apart here either."""
    distance: float
    """The least difference between two groups: the largest over their numbers."""
    tensors: tuple[tuple[str, Array], ...] | None
    """The weights by name, in the order given; None where they are those given."""


def apart(contenders: Sequence[Hypothesis]) -> Apart | None:
    """The best of some random examples with these weights, or None where none shows anything."""
    functions = [_function(one, one.fit) for one in contenders]
    said = tuple(map(named, contenders))
    sizes = functions[0].hidden, functions[0].inputs
    return _best(_example(functions, said, x, h0, None) for x, h0 in _draws(functions[0], *sizes))


def elsewhere(contenders: Sequence[Hypothesis]) -> Apart | None:
    """The same with other weights: random ones for two units at least, no bias 0."""
    first = contenders[0].fit
    hidden, inputs = max(2, first.hidden), first.inputs
    if len({one.fit.columns for one in contenders}) > 1:
        hidden = inputs = 2  # square, so that rows and columns are both possible
    said = tuple(map(named, contenders))
    rng = np.random.default_rng(1)
    found = []
    for x, h0 in _draws(_function(contenders[0], first), hidden, inputs):
        arrays = [np.round(rng.normal(size=s), 2) for s in _shapes(first, hidden, inputs)]
        fits = [_with(one.fit, arrays, hidden, inputs) for one in contenders]
        if any(_shapes(fit, hidden, inputs) != [a.shape for a in arrays] for fit in fits):
            return None
        functions = [_function(one, fit) for one, fit in zip(contenders, fits, strict=True)]
        names = [one.name or f"array {k}" for k, one in enumerate(first.given, 1)]
        tensors = tuple(zip(names, arrays, strict=True))
        found.append(_example(functions, said, x, h0, tensors))
    return _best(found)


def named(hypothesis: Hypothesis) -> str:
    """The dialects that a hypothesis is, or what it is."""
    return ", ".join(hypothesis.dialects) or hypothesis.said


def _best(found: Iterable[Apart]) -> Apart | None:
    best = max(found, key=lambda one: (len(set(one.groups)), one.distance))
    return best if len(set(best.groups)) > 1 else None


def _function(hypothesis: Hypothesis, fit: Fit) -> Weighted:
    cell = hypothesis.variant.cell
    return Weighted(cell, fit.weights(cell), fit.hidden, fit.inputs, [hypothesis])


def _shapes(fit: Fit, hidden: int, inputs: int) -> list[tuple[int, ...]]:
    return [Tensor("", parts).shape(hidden, inputs, fit.columns) for parts in fit.parts]


def _with(fit: Fit, arrays: Sequence[Array], hidden: int, inputs: int) -> Fit:
    """The same reading of other arrays."""
    given = tuple(
        GivenTensor(old.name, array, 0.0) for old, array in zip(fit.given, arrays, strict=True)
    )
    return replace(fit, given=given, hidden=hidden, inputs=inputs)


def _draws(
    function: Weighted, hidden: int, inputs: int
) -> Iterator[tuple[Array, tuple[Array, ...]]]:
    rng = np.random.default_rng(0)
    for k in range(DRAWS):
        x = np.round((0.5, 1.0, 2.0)[k % 3] * rng.normal(size=(STEPS, inputs)), 1)
        h0 = np.round(rng.uniform(-0.9, 0.9, (len(function.cell.states), hidden)), 1)
        yield x, tuple(h0)


def _example(
    functions: Sequence[Weighted],
    said: tuple[str, ...],
    x: Array,
    h0: tuple[Array, ...],
    tensors: tuple[tuple[str, Array], ...] | None,
) -> Apart:
    start = tuple(one[None] for one in h0)
    y = tuple(
        Stacked.of([f.weights], f.hidden).run(f.cell, x[:, None], start)[0, :, 0] for f in functions
    )
    groups, leaders = [], list[Array]()
    for one in y:
        near = [k for k, leader in enumerate(leaders) if _off(one, leader) <= CLEAR]
        groups.append(near[0] if near else len(leaders))
        leaders += [] if near else [one]
    pairs = [_off(a, b) for k, a in enumerate(leaders) for b in leaders[:k]]
    return Apart(said, x, h0, y, tuple(groups), min(pairs, default=0.0), tensors)


def _off(one: Array, other: Array) -> float:
    off = np.abs(one - other).max()
    return float(off) if np.isfinite(off) else np.inf
