"""Maps from the weights of one cell to those of another: all of them, simplest first.

A map gives each weight of one cell as a weight of the other times a number: gates renamed or tied,
negated, scaled; an inner bias added to the outer one, or a weight left 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from grus.equations import Apply, Cell, Const, Weight
from grus.errors import InputError

Array = Any
Single = Mapping[Weight, Array]
Terms = dict[Weight, tuple[tuple[float, Weight], ...]]
MOST = 200_000


@dataclass(frozen=True)
class WeightMap:
    """The weights of one cell from those of another."""

    source: Cell
    target: Cell
    terms: Mapping[Weight, tuple[tuple[float, Weight], ...]]
    """Each weight of the target as a sum of weights of the source times numbers; () is 0."""
    difference: float
    """The largest difference between both sides on the random numbers they were tried with."""

    def __call__(self, single: Single) -> dict[Weight, Array]:
        """The target's weights, gate by gate, from the source's."""
        zeros: dict[Weight, Array] = {}
        sizes = _sizes_of(self.source, single)
        for weight, terms in self.terms.items():
            shape = [sizes[axis] for axis in self.target.shapes.weights[weight]]
            zeros[weight] = sum((k * single[w] for k, w in terms), np.zeros(shape))
        return zeros

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """``W.z = -W.z``: each weight of the target that is not the source's of that name."""
        return tuple(
            f"{weight.name} = {_sum(terms)}"
            for weight, terms in self.terms.items()
            if terms != ((1.0, weight),)
        )

    def __str__(self) -> str:
        return "\n".join(self.lines) or "every weight is the same"


def maps(source: Cell, target: Cell) -> Iterator[tuple[int, Terms]]:
    """Every map, simplest first, and how many gates it renames or ties; factors of 1 first."""
    mine, theirs = _gates(source), _gates(target)
    factors = _factors(source, target)
    choices = list(product(product(mine, factors), repeat=len(theirs)))
    if len(choices) > MOST:
        raise InputError(f"cells of {len(mine)} and {len(theirs)} gates are too many to compare")
    costs = {f: k for k, f in enumerate(factors)}

    def cost(choice: tuple[tuple[str, float], ...]) -> tuple[int, int]:
        renamed = sum(g != gate for gate, (g, _) in zip(theirs, choice, strict=True))
        tied = len(choice) - len({g for g, _ in choice})
        return renamed + tied, sum(costs[f] for _, f in choice)

    for choice in sorted(choices, key=cost):
        yield cost(choice)[0], _terms(source, target, dict(zip(theirs, choice, strict=True)))


def _gates(cell: Cell) -> tuple[str, ...]:
    return tuple(dict.fromkeys(w.gate for w in cell.weights))


def _factors(source: Cell, target: Cell) -> tuple[float, ...]:
    """1, -1 and the ratios of the slopes in the two cells, both signs."""
    numbers = [{abs(value) for value in _slopes(cell)} | {1.0} for cell in (source, target)]
    ratios = sorted({a / b for a in numbers[0] for b in numbers[1]} - {1.0})
    return (1.0, -1.0, *ratios[:4], *(-r for r in ratios[:4]))


def _slopes(cell: Cell) -> Iterator[float]:
    """Numbers that something is multiplied with."""
    for node in cell.nodes:
        if isinstance(node, Apply) and node.op == "mul":
            yield from (a.value for a in node.args if isinstance(a, Const) and a.value)


def _terms(source: Cell, target: Cell, choice: Mapping[str, tuple[str, float]]) -> Terms:
    have = set(source.weights)
    found: Terms = {}
    for weight in target.weights:
        gate, factor = choice[weight.gate]
        same = Weight(weight.family, gate)
        terms = [(factor, same)] if same in have else []
        # An inner bias that the target has no place for is added to the outer one.
        inner = Weight("d", gate)
        if (
            weight.family == "b"
            and inner in have
            and Weight("d", weight.gate) not in target.weights
        ):
            terms.append((factor, inner))
        found[weight] = tuple(terms)
    return found


def _sizes_of(cell: Cell, single: Single) -> dict[str, int]:
    found: dict[str, int] = {}
    for weight, array in single.items():
        found |= dict(zip(cell.shapes.weights[weight], array.shape, strict=True))
    hidden = found.get("hidden", 1)
    return {"input": hidden, "projection": hidden} | found


def _sum(terms: tuple[tuple[float, Weight], ...]) -> str:
    shown = {1.0: "{}", -1.0: "-{}"}
    parts = [shown.get(k, f"{k:.6g} * {{}}").format(w.name) for k, w in terms]
    return " + ".join(parts).replace("+ -", "- ") or "0"
