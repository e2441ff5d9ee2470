"""A layer's parameters under torch's names: declared, drawn, read; and as the kernels take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grus import kernels
from grus.dialects import TorchRecord
from grus.equations import Cell, expected
from grus.errors import InputError
from grus.kernels import Array, Steps
from grus.layers import composite
from grus.runtime import Weights

CONSTANT = {"gain": 1.0, "shift": 0.0, "highway_bias": -1.0}
"""What parameters of these names begin with: a norm that is nothing but a norm, a highway that
carries most of what it is given."""
BLANK = "blank"
"""A buffer of no numbers: the dtype and device of a layer whose cell has no weights."""
Names = dict[str, str]
"""The record's name of a tensor (``weight_ih``) -> the parameter's (``weight_ih_l0_reverse``)."""


def suffixes(num_layers: int, bidirectional: bool) -> list[str]:
    """What each row of h_n adds to the names of its parameters, in torch's order."""
    ends = ("", "_reverse") if bidirectional else ("",)
    return [f"_l{k}{end}" for k in range(num_layers) for end in ends]


def declare(
    module: nn.Module, names: Names, shapes: Mapping[str, tuple[int, ...]], device: Any, dtype: Any
) -> None:
    """Register one empty parameter for each name."""
    for name, parameter in names.items():
        empty = torch.empty(shapes[name], device=device, dtype=dtype)
        module.register_parameter(parameter, nn.Parameter(empty))


def declare_blank(module: nn.Module, device: Any, dtype: Any) -> None:
    """Register `BLANK`."""
    blank = torch.empty(0, device=device, dtype=dtype)
    module.register_buffer(BLANK, blank, persistent=False)


def draw(module: nn.Module, cell: Cell, hidden_size: int) -> None:
    """All from U(-1/sqrt(H), 1/sqrt(H)), in the order of registration, as torch does, but those
    that begin with a constant; H counts what a unit reads, as torch draws a convolution: all
    places under a window, one block."""
    places = cell.shapes.places
    most = max((places[w] / n for w, n in cell.shapes.blocks.items()), default=1)
    bound = 1.0 / math.sqrt(hidden_size * most)
    for name, parameter in module.named_parameters():
        constant = next((value for k, value in CONSTANT.items() if name.startswith(f"{k}_")), None)
        if constant is None:
            nn.init.uniform_(parameter, -bound, bound)
        else:
            nn.init.constant_(parameter, constant)


def tensor(module: nn.Module, name: str) -> Tensor:
    """The tensor of that name as it is now, as `read` reads it."""
    held: Any = module._parameters.get(name)
    return getattr(module, name) if held is None else held  # type: ignore[no-any-return]


def read(module: nn.Module, names: Names) -> dict[str, Tensor]:
    """The tensors as they are now: parameters, or what a hook or a parametrization put there."""
    held: dict[str, Any] = module._parameters
    try:
        return {name: held[parameter] for name, parameter in names.items()}
    except KeyError:
        return {name: getattr(module, parameter) for name, parameter in names.items()}


@torch.no_grad()
def set_gate_bias(
    module: nn.Module, record: TorchRecord, rows: list[Names], gate: str, value: float
) -> None:
    """Set the whole bias of a gate, in every row."""
    cell = record.cell
    gates = cell.families.get("b", ())
    if gate not in gates or "bias_ih" not in rows[0]:
        raise InputError(f"gate_bias: no gate {gate!r} with a bias; {cell.name} has {gates}")
    at, inner = gates.index(gate), gate in cell.families.get("d", ())
    for names in rows:
        size = getattr(module, names["bias_ih"]).shape[0] // len(gates)
        getattr(module, names["bias_ih"])[at * size : (at + 1) * size] = value
        if gate in record.gates_hh and not inner:
            second = record.gates_hh.index(gate)
            getattr(module, names["bias_hh"])[second * size : (second + 1) * size] = 0.0


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
    memory: Array = tensor.numpy()
    return memory
