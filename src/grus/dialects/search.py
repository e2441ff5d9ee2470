"""The search for a map: every one is tried on random numbers in float64, simplest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grus.dialects.maps import Single, WeightMap, maps
from grus.equations import Cell, Weight
from grus.errors import InputError
from grus.reference import step

Array = Any
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
