"""A layer's tensors as the kernels take them: families of arrays, and their gradients back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from grus import kernels
from grus.dialects import TorchRecord
from grus.equations import Cell, expected
from grus.kernels import Steps
from grus.layers import composite
from grus.runtime import Weights

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Binding:
    """A cell's record and the names of the parameters that come, in order, after x and the states.

    ``tensors`` everywhere is (x, *initial states, *parameters).
    """

    record: TorchRecord
    names: tuple[str, ...]

    @cached_property
    def cell(self) -> Cell:
        """The cell."""
        return self.record.cell

    @cached_property
    def states(self) -> int:
        """How many states the cell has."""
        return len(self.cell.states)

    @cached_property
    def called(self) -> tuple[str, ...]:
        """What a message calls each of ``tensors``."""
        return ("input", *(f"hx of state {s}" for s in self.cell.states), *self.names)

    @cached_property
    def stacked(self) -> Weights:
        """How the weights are stacked in the parameters."""
        families, inner = self.cell.families, self.cell.families.get("d", ())
        held = {
            self.record.tensor(family): tuple((family, gate) for gate in gates)
            for family, gates in families.items()
            if family != "d"
        }
        held["bias_hh"] = tuple(("d" if g in inner else "b", g) for g in self.record.gates_hh)
        return Weights(self.cell, self.names, tuple(held[name] for name in self.names))

    def start(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The initial states."""
        return tensors[1 : 1 + self.states]

    def named(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The parameters by name."""
        return dict(zip(self.names, tensors[1 + self.states :], strict=True))

    def arrays(self, tensors: tuple[Tensor, ...]) -> dict[str, Array]:
        """The weights by family, as arrays."""
        return self.weights(tensors[1 + self.states :])

    def weights(self, parameters: tuple[Tensor, ...]) -> dict[str, Array]:
        """The same of the parameters alone."""
        named = {n: array(t) for n, t in zip(self.names, parameters, strict=True)}
        return self.record.families(
            named,
            self.record.bias_size(named),
            lambda n: np.zeros(n, next(iter(named.values())).dtype),
            np.concatenate,
            kernels.add,
        )

    @cached_property
    def expected(self) -> Binding:
        """The binding of the cell with its masks replaced by their means."""
        return bind(TorchRecord(expected(self.cell)), self.names)

    @cached_property
    def reads_output(self) -> bool:
        """Whether backward reads the output, with masks drawn or without."""
        return any(
            c.output in kernels.layout(c).derived.saved for c in (self.cell, expected(self.cell))
        )

    def composite(self, steps: Steps, *tensors: Tensor) -> tuple[Tensor, ...]:
        """(output, *final states) by torch's own differentiable operations."""
        weights = composite.families(self.record, self.named(tensors))
        start = self.start(tensors)
        output, final = composite.sequence(self.cell, weights, tensors[0], start, steps)
        return output, *final


@lru_cache(maxsize=256)
def bind(record: TorchRecord, names: tuple[str, ...]) -> Binding:
    """The binding of a layer's parameters, made once."""
    return Binding(record, names)


def array(tensor: Tensor) -> Array:
    """The tensor's memory as a NumPy array, its last axis contiguous."""
    tensor = tensor.detach().resolve_neg()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()
    found: Array = tensor.numpy()
    return found
