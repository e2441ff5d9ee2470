"""How a cell's weights are stacked in tensors: one for each family, or as a library stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from grus.equations import Cell
from grus.errors import InputError
from grus.kernels import ONE, Source

Part = tuple[str, str]
"""A family and a gate of it."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Names of tensors, and what is stacked in each, in order. A vector may come in two parts,
    which are added."""

    cell: Cell
    names: tuple[str, ...]
    parts: tuple[tuple[Part, ...], ...]

    def sources(self, weights: Sequence[Any]) -> tuple[Source, ...]:
        """Of each weight of a plan its tensor and gate, twice; -1 is no tensor."""
        places: dict[Part, list[int]] = {}
        for tensor, parts in enumerate(self.parts):
            for gate, part in enumerate(parts):
                places.setdefault(part, []).extend((tensor, gate))
        found = [(*places.get((w.family, w.gate), ()), -1, -1, -1, -1) for w in weights]
        return tuple((a, b, c, d) for a, b, c, d, *_ in found)

    def tensor(self, family: str) -> int:
        """The tensor that holds a family, as far as it is in one."""
        return next(k for k, parts in enumerate(self.parts) if parts[0][0] == family)

    @cached_property
    def axes(self) -> dict[str, tuple[int, int, int]]:
        """Axis -> the tensor, the dimension and the parts in it that tell its size."""
        found: dict[str, tuple[int, int, int]] = {}
        for k, parts in enumerate(self.parts):
            first, *rest = self.cell.family_axes(parts[0][0])
            found.setdefault(first, (k, 0, len(parts)))
            for axis in rest:
                found.setdefault(axis, (k, 1, 1))
        found.pop("input", None)
        return found

    def sizes(self, x: Any, states: Sequence[Any], tensors: Sequence[Any]) -> dict[str, int]:
        """The size of each axis, and of a single number; of one that no weight has, the states'."""
        found = {"input": x.shape[2], ONE: 1}
        for axis, (tensor, dim, parts) in self.axes.items():
            found[axis] = tensors[tensor].shape[dim] // parts
        for axis, state in zip(self.cell.shapes.states.values(), states, strict=False):
            found.setdefault(axis, state.shape[-1])
        return found

    def check(self, tensors: Sequence[Any], sizes: Mapping[str, int]) -> None:
        """Raises InputError for a tensor of another shape than the cell needs."""
        for name, parts, tensor in zip(self.names, self.parts, tensors, strict=True):
            first, *rest = (sizes[axis] for axis in self.cell.family_axes(parts[0][0]))
            wanted = (len(parts) * first, *rest)
            if tuple(tensor.shape) != wanted:
                raise InputError(
                    f"parameter {name} must be of shape {wanted}, got {tuple(tensor.shape)}"
                )


@lru_cache(maxsize=256)
def by_family(cell: Cell) -> Weights:
    """A tensor for each family, its gates in order."""
    parts = tuple(tuple((f, gate) for gate in gates) for f, gates in cell.families.items())
    return Weights(cell, tuple(cell.families), parts)
