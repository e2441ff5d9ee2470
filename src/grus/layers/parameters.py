"""A layer's parameters under torch's names: declared, drawn, read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grus.dialects import TorchRecord
from grus.errors import InputError

NORM = {"gain": 1.0, "shift": 0.0}
"""What layer norm's parameters begin with."""
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
    for name, own in names.items():
        empty = torch.empty(shapes[name], device=device, dtype=dtype)
        module.register_parameter(own, nn.Parameter(empty))


def draw(module: nn.Module, hidden_size: int) -> None:
    """All from U(-1/sqrt(H), 1/sqrt(H)), in the order of registration, as torch does; a norm begins
    as nothing but a norm."""
    bound = 1.0 / math.sqrt(hidden_size)
    for name, parameter in module.named_parameters():
        kind = name.split("_")[0]
        if kind in NORM:
            nn.init.constant_(parameter, NORM[kind])
        else:
            nn.init.uniform_(parameter, -bound, bound)


def one(module: nn.Module, own: str) -> Tensor:
    """The tensor of that name as it is now, as `read` reads it."""
    held: Any = module._parameters.get(own)
    return getattr(module, own) if held is None else held  # type: ignore[no-any-return]


def read(module: nn.Module, names: Names) -> dict[str, Tensor]:
    """The tensors as they are now: parameters, or what a hook or a parametrization put there."""
    held: dict[str, Any] = module._parameters
    try:
        return {name: held[own] for name, own in names.items()}
    except KeyError:
        return {name: getattr(module, own) for name, own in names.items()}


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
