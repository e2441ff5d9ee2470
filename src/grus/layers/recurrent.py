"""Recurrent layers with PyTorch's parameter names, layout and defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grus.dialects import TorchRecord
from grus.equations import Cell, cell as find_cell
from grus.errors import InputError
from grus.layers import composite, function
from grus.layers.path import Path, choose

State = Tensor | tuple[Tensor, ...]
"""One tensor for a cell with one state, else a tuple in the order of the cell's states."""


class Recurrent(nn.Module):
    """A stack of layers of any cell.

    ``cell`` is whatever `grus.cell` takes. Parameters are named and laid out as ``nn.GRU``'s
    (``weight_ih_l0`` [3H, I], ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``), drawn from
    U(-1/sqrt(H), 1/sqrt(H)) in the same order, so one seed gives both the same weights.

    ``gate_bias`` sets the whole bias of a gate by its name in the cell's own equations: for "gru",
    where z keeps the state, ``{"z": 1.0}`` starts with a long memory; for "gru_admit" it starts
    with a short one.

    ``backend`` picks the path ("kernels" or "composite"); None follows the rules of `layers.path`.

    Raises InputError for sizes below 1, an unknown gate, a gate without a bias, an unknown
    backend, or a cell that a layer cannot hold (masks, a projection).
    """

    def __init__(
        self,
        cell: str | Cell | type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        gate_bias: Mapping[str, float] | None = None,
        backend: Path | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise InputError(f"{name} must be a whole number from 1 up, got {size!r}")
        if backend not in (None, "kernels", "composite"):
            raise InputError(f"backend must be kernels, composite or None, got {backend!r}")
        self.cell = find_cell(cell)
        self._check_axes(input_size, hidden_size)
        self.record = TorchRecord(self.cell)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first = bias, batch_first
        self.gate_bias = dict(gate_bias or {})
        self.backend = backend
        self._names = tuple(self.record.shapes(self._sizes(0), bias))
        for k in range(num_layers):
            for name, shape in self.record.shapes(self._sizes(k), bias).items():
                empty = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(f"{name}_l{k}", nn.Parameter(empty))
        self.reset_parameters()

    def _check_axes(self, inputs: int, hidden: int) -> None:
        shapes, name = self.cell.shapes, self.cell.name
        masks = [i.name for i in self.cell.inputs if i.name != "x"]
        if masks:
            raise InputError(f"cell {name}: layers take no masks yet ({', '.join(masks)})")
        axes = {axis for axes in shapes.weights.values() for axis in axes}
        if "projection" in axes | set(shapes.states.values()):
            raise InputError(f"cell {name}: layers have no projection after the state yet")
        if shapes.equal and inputs != hidden:
            raise InputError(
                f"cell {name} uses x element by element: input_size and hidden_size must be equal,"
                f" got {inputs} and {hidden}"
            )

    def _sizes(self, layer: int) -> dict[str, int]:
        inputs = self.input_size if layer == 0 else self.hidden_size
        return {"input": inputs, "hidden": self.hidden_size}

    def reset_parameters(self) -> None:
        """Draw all parameters anew, then set the gate biases asked for."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        for gate, value in self.gate_bias.items():
            self._set_gate_bias(gate, value)

    @torch.no_grad()
    def _set_gate_bias(self, gate: str, value: float) -> None:
        gates = self.cell.families.get("b", ())
        if gate not in gates or not self.bias:
            raise InputError(
                f"gate_bias: no gate {gate!r} with a bias; {self.cell.name} has {gates}"
            )
        size, at = self.hidden_size, gates.index(gate)
        inner = gate in self.cell.families.get("d", ())
        for k in range(self.num_layers):
            getattr(self, f"bias_ih_l{k}")[at * size : (at + 1) * size] = value
            if gate in self.record.gates_hh and not inner:
                second = self.record.gates_hh.index(gate)
                getattr(self, f"bias_hh_l{k}")[second * size : (second + 1) * size] = 0.0

    def layer_tensors(self, layer: int) -> dict[str, Tensor]:
        """The parameters of one layer under torch's names, without the layer's number."""
        return {name: getattr(self, f"{name}_l{layer}") for name in self._names}

    def layer_weights(self, layer: int) -> dict[str, Tensor]:
        """The weights of one layer by family, as the cell's equations name them."""
        tensors = self.layer_tensors(layer)
        like = next(iter(tensors.values()))
        return self.record.families(tensors, self.hidden_size, like.new_zeros, torch.cat)

    def forward(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """Run over ``input`` [time, batch, input] (batch first if asked for).

        ``hx`` holds the initial states, each [layers, batch, hidden]; None is zeros. Returns the
        output and the final states, a tuple where the cell has several. An empty sequence gives
        back the initial state (torch raises there).
        """
        x = input.transpose(0, 1) if self.batch_first else input
        start = self._start(x, hx)
        final = []
        for k in range(self.num_layers):
            x, state = self._layer(k, x, tuple(s[k] for s in start))
            final.append(state)
        if len(final) == 1:
            states = tuple(state.unsqueeze(0) for state in final[0])
        else:
            states = tuple(torch.stack(each) for each in zip(*final, strict=True))
        return (x.transpose(0, 1) if self.batch_first else x), self._packed(states)

    def path(self, input: Tensor) -> Path:
        """Which code `forward` would run for this input: "kernels" or "composite"."""
        return choose(input, self.backend)

    def _layer(
        self, k: int, x: Tensor, start: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.path(x) == "kernels":
            return function.sequence(self.record, x, start, self.layer_tensors(k))
        return composite.sequence(self.cell, self.layer_weights(k), x, start)

    def step(self, x: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """One time step: ``x`` [batch, input] -> (output [batch, hidden], next states)."""
        time = 1 if self.batch_first else 0
        output, state = self(x.unsqueeze(time), hx)
        return output.squeeze(time), state

    def _packed(self, states: tuple[Tensor, ...]) -> State:
        return states[0] if len(states) == 1 else states

    def _start(self, x: Tensor, hx: State | None) -> tuple[Tensor, ...]:
        if x.dim() != 3 or x.shape[2] != self.input_size:
            raise InputError(
                f"input must be [time, batch, {self.input_size}] or batch first,"
                f" got {tuple(x.shape)}"
            )
        shape = (self.num_layers, x.shape[1], self.hidden_size)
        if hx is None:
            return tuple(x.new_zeros(shape) for _ in self.cell.states)
        states = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        if len(states) != len(self.cell.states):
            raise InputError(f"hx must hold the states {self.cell.states}, got {len(states)}")
        for name, state in zip(self.cell.states, states, strict=True):
            if tuple(state.shape) != shape:
                raise InputError(f"hx of state {name} must be {shape}, got {tuple(state.shape)}")
        return states

    def extra_repr(self) -> str:
        """What ``print(layer)`` shows: the cell first."""
        parts = [self.cell.name, str(self.input_size), str(self.hidden_size)]
        parts += [f"num_layers={self.num_layers}"] if self.num_layers != 1 else []
        parts += [f"bias={self.bias}"] if not self.bias else []
        parts += ["batch_first=True"] if self.batch_first else []
        return ", ".join(parts)


class GRU(Recurrent):
    """A GRU with ``nn.GRU``'s parameters; ``cell`` picks another GRU ("gru_reset_before", ...)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        cell: str | Cell | type[Cell] = "gru",
        gate_bias: Mapping[str, float] | None = None,
        backend: Path | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            gate_bias=gate_bias,
            backend=backend,
            device=device,
            dtype=dtype,
        )
