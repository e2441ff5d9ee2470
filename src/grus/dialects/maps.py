"""Maps from the weights of one cell to those of another: all of them, simplest first, and the
search for one, in which every map is tried on random numbers in float64.

A map gives each weight of one cell as a weight of the other times a number: gates renamed or tied,
negated, scaled, or always open; an inner bias added to the outer one, or a weight left 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from grus.equations import Apply, Cell, Const, Weight
from grus.errors import InputError
from grus.reference import step

Array = Any
Single = Mapping[Weight, Array]
Terms = dict[Weight, tuple[tuple[float, Weight], ...]]
MOST = 200_000
OPEN = 40.0
"""sigmoid(40) is 1 to the last place, in float64 as in float32."""


@dataclass(frozen=True)
class WeightMap:
    """The weights of one cell from those of another."""

    source: Cell
    target: Cell
    terms: Mapping[Weight, tuple[tuple[float, Weight], ...]]
    """Each weight of the target as a sum of weights of the source times numbers; () is 0."""
    constants: Mapping[Weight, float]
    """What is added to a bias: `OPEN` for a gate that is always 1."""
    difference: float = 0.0
    """The largest difference between both sides on the random numbers they were tried with."""

    def __call__(self, single: Single) -> dict[Weight, Array]:
        """The target's weights, gate by gate, from the source's; a vector that stands for a
        matrix is its diagonal."""
        found: dict[Weight, Array] = {}
        sizes = _sizes_of(self.source, single)
        for weight, terms in self.terms.items():
            shape = [sizes[axis] for axis in self.target.shapes.weights[weight]]
            total = np.full(shape, self.constants.get(weight, 0.0))
            for factor, given in terms:
                array = single[given]
                total += factor * (np.diag(array) if array.ndim < len(shape) else array)
            found[weight] = total
        return found

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """``W.z = -W.z``: each weight of the target that is not the source's of that name."""
        found = {w.name: self._said(w) for w in self.terms}
        return tuple(f"{name} = {said}" for name, said in found.items() if said != name)

    def _said(self, weight: Weight) -> str:
        """The right side for one weight of the target."""
        axes, parts = self.target.shapes.weights[weight], []
        for factor, given in self.terms[weight]:
            vector = len(self.source.shapes.weights[given]) < len(axes)
            name = f"diag({given.name})" if vector else given.name
            shown = {1.0: name, -1.0: f"-{name}"}
            parts.append(shown.get(factor, f"{factor:.6g} * {name}"))
        return " + ".join(parts).replace("+ -", "- ") or f"{self.constants.get(weight, 0.0):g}"

    def __str__(self) -> str:
        return "\n".join(self.lines) or "every weight is the same"


Choice = tuple[tuple[str, float], ...]
"""For each gate of the target a gate of the source, or "" for one that is always 1; a factor."""


def maps(source: Cell, target: Cell) -> Iterator[tuple[int, WeightMap]]:
    """Every map, simplest first, and how many gates it renames, ties or leaves open."""
    mine, theirs = _gates(source), _gates(target)
    factors = _factors(source, target)
    each = [*product(mine, factors), ("", 1.0)]
    if len(each) ** len(theirs) > MOST:
        raise InputError(f"cells of {len(mine)} and {len(theirs)} gates are too many to compare")
    costs = {f: k for k, f in enumerate(factors)}

    def cost(choice: Choice) -> tuple[int, int]:
        renamed = sum(g != gate for gate, (g, _) in zip(theirs, choice, strict=True))
        tied = len(choice) - len({g for g, _ in choice})
        return renamed + tied, sum(costs[f] for _, f in choice)

    for choice in sorted(product(each, repeat=len(theirs)), key=cost):
        made = _map(source, target, dict(zip(theirs, choice, strict=True)))
        if made is not None:
            yield cost(choice)[0], made


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


def _map(source: Cell, target: Cell, choice: Mapping[str, tuple[str, float]]) -> WeightMap | None:
    """The map of this choice; None where a matrix would have to be a vector, or an open gate has
    no bias."""
    have = source.shapes.weights
    terms: Terms = {}
    constants: dict[Weight, float] = {}
    for weight, axes in target.shapes.weights.items():
        gate, factor = choice[weight.gate]
        outer, inner = Weight("b", weight.gate), Weight("d", gate)
        if not gate:
            if outer not in target.shapes.weights:
                return None
            terms[weight], constants[outer] = (), OPEN
            continue
        same = Weight(weight.family, gate)
        if len(have.get(same, ())) > len(axes):
            return None
        given = [(factor, same)] if same in have else []
        # An inner bias that the target has no place for is added to the outer one.
        placed = Weight("d", weight.gate) in target.shapes.weights
        if weight == outer and inner in have and not placed:
            given.append((factor, inner))
        terms[weight] = tuple(given)
    return WeightMap(source, target, terms, constants)


def _sizes_of(cell: Cell, single: Single) -> dict[str, int]:
    found: dict[str, int] = {}
    for weight, array in single.items():
        found |= dict(zip(cell.shapes.weights[weight], array.shape, strict=True))
    hidden = found.get("hidden", 1)
    return {"input": hidden, "projection": hidden} | found


# Two ways to add and round numbers near 1, a few dozen times.
SAME = 1e-12


@dataclass(frozen=True)
class Side:
    """One of the two: a cell, and the weights of it that do not exist."""

    label: str
    cell: Cell
    absent: frozenset[Weight] = frozenset()


class Search:
    """All maps from one side to the other, simplest first."""

    def __init__(self, source: Side, target: Side) -> None:
        self.source, self.target, self.tried = source, target, 0
        self.best: tuple[int, float, WeightMap] | None = None
        rng = np.random.default_rng(0)
        self.sizes = sizes_for((source.cell, target.cell), 2, 3)
        self.single = self.weights(rng)
        self.inputs, self.state = self.example(rng, 32)
        self.wanted = self.run(source.cell, self.single)

    def weights(self, rng: np.random.Generator) -> dict[Weight, Array]:
        """Random weights of the source; what it has not is 0."""
        cell = self.source.cell
        return {
            w: np.zeros(shape) if w in self.source.absent else rng.normal(size=shape)
            for w, axes in cell.shapes.weights.items()
            for shape in [[self.sizes[axis] for axis in axes]]
        }

    def example(
        self, rng: np.random.Generator, batch: int
    ) -> tuple[dict[str, Array], tuple[Array, ...]]:
        """Random inputs and states."""
        cell = self.source.cell
        inputs = {
            node.name: rng.normal(size=(batch, self.sizes[cell.shapes.inputs[node]]))
            for node in cell.inputs
        }
        state = tuple(
            rng.normal(size=(batch, self.sizes[cell.shapes.states[s]])) for s in cell.states
        )
        if "x" not in inputs:  # the other cell may read it
            inputs["x"] = rng.normal(size=(batch, self.sizes["input"]))
        return inputs, state

    def run(self, cell: Cell, single: Single) -> Array:
        """Output and next states of one step, side by side."""
        with np.errstate(all="ignore"):
            output, state = step(cell, single, self.inputs, self.state)
        return np.concatenate([output, *state], axis=-1)

    def found(self) -> WeightMap | None:
        """The first map that fits."""
        masks = [{i.name for i in s.cell.inputs} - {"x"} for s in (self.source, self.target)]
        if masks[0] != masks[1]:
            raise InputError("the two cells take different masks: there is nothing to compare")
        for renamed, made in maps(self.source.cell, self.target.cell):
            self.tried += 1
            given, weights = made, made(self.single)
            if any(np.any(weights[w]) for w in self.target.absent):
                weights |= {w: np.zeros_like(weights[w]) for w in self.target.absent}
                dropped = dict.fromkeys(self.target.absent, ())
                given = replace(made, terms={**made.terms, **dropped})
            apart = np.abs(self.run(self.target.cell, weights) - self.wanted)
            off, usual = float(apart.max()), float(apart.mean())
            if np.isfinite(usual) and (self.best is None or (renamed, usual) < self.best[:2]):
                self.best = (renamed, usual, given)
            if off < SAME * max(1.0, float(np.abs(self.wanted).max())):
                return replace(given, difference=off)
        return None


def sizes_for(cells: tuple[Cell, Cell], inputs: int, hidden: int) -> dict[str, int]:
    """The size of each axis in both cells."""
    equal = any(cell.shapes.equal for cell in cells)
    return {"input": hidden if equal else inputs, "hidden": hidden, "projection": hidden}
