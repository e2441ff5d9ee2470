"""`GRUCell`, `LSTMCell`, `RNNCell`: one step at a time, as torch's classes of those names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.equations import Cell, cell as find_cell
from grus.errors import InputError, ShapeError
from grus.layers import arguments, dispatch, parameters, surface
from grus.layers.dispatch import Path
from grus.layers.modules import rnn_cell
from grus.layers.states import State, as_tuple

BIASES = ("bias_ih", "bias_hh")


class StepCell(surface.Recorded):
    """One step of a cell: x [batch, input] or [input] and its states in, the next states out.

    Parameters are torch's: ``weight_ih`` [gates * H, I], ``weight_hh``, ``bias_ih``, ``bias_hh``
    (None without ``bias``), drawn as torch draws them. ``blocks`` as in `Recurrent`.
    Raises InputError for what cannot be.
    """

    cell_name = "gru"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: Path | None = None,
        blocks: int | None = None,
    ) -> None:
        super().__init__()
        cell = arguments.in_blocks(find_cell(self.cell_name), blocks)
        self._begin(cell, input_size, hidden_size, bias, device, dtype, backend)

    def _begin(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: Any,
        dtype: torch.dtype | None,
        backend: Path | None,
    ) -> None:
        arguments.check_sizes(input_size=input_size, hidden_size=hidden_size)
        arguments.check_backend(backend)
        self.configure(cell, input_size, hidden_size, bias=bool(bias), backend=backend)
        shapes = self.record.shapes({"input": input_size, "hidden": hidden_size}, self.bias)
        parameters.declare(self, self._names, shapes, device, dtype)
        for name in BIASES if not self.bias else ():
            self.register_parameter(name, None)
        self.reset_parameters()

    def configure(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool,
        backend: Path | None = None,
    ) -> None:
        """Set everything but the parameters, of which only the names are noted."""
        self.cell, self.record = cell, TorchRecord(cell)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self.backend = backend
        shapes = self.record.shapes({"input": input_size, "hidden": hidden_size}, bias)
        self._names = {name: name for name in shapes}
        self._calls = dispatch.LayerCalls(self.record, tuple(shapes))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._calls = dispatch.LayerCalls(self.record, tuple(self._names))

    def reset_parameters(self) -> None:
        """Draw all parameters anew from U(-1/sqrt(H), 1/sqrt(H))."""
        parameters.draw(self, self.cell, self.hidden_size)

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """``hx`` holds the states, each [batch, hidden] ([hidden] for an unbatched input)."""
        if not isinstance(input, Tensor):
            return surface.leaf(self, input, hx, {})  # type: ignore[unreachable]
        if input.dim() == 2:
            known = self._ready(input, hx)
            if known is not None:
                return known
        kind = type(self).__name__
        if input.dim() not in (1, 2):
            raise InputError(f"{kind}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        x = input if input.dim() == 2 else input.unsqueeze(0)
        if x.shape[1] != self.input_size:
            raise ShapeError(
                f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}"
            )
        start = self._start(kind, x, hx, input.dim())
        named = parameters.read(self, self._names)
        x = x.unsqueeze(0)
        _, final = dispatch.sequence(
            self.record, x, start, named, asked=self.backend, one_step=True
        )
        if input.dim() == 1:
            final = tuple(state.squeeze(0) for state in final)
        return final[0] if len(final) == 1 else final

    def _ready(self, x: Tensor, hx: State | None) -> State | None:
        """What `forward` gives, where the call is one of those that are `ready`."""
        held: dict[str, Any] = self._parameters
        if self.backend not in (None, "kernels"):
            return None
        try:
            weights = [held[name] for name in self._names]
        except KeyError:  # a parametrization or a hook has taken a parameter's place
            return None
        result = dispatch.ready(self._calls, self.input_size, weights, x, hx)
        if result is None:
            return None
        final = result[1]
        return final[0] if len(final) == 1 else final

    def _start(self, kind: str, x: Tensor, hx: State | None, dims: int) -> tuple[Tensor, ...]:
        names, batch, size = self.cell.states, x.shape[0], self.hidden_size
        if hx is None:
            return tuple(x.new_zeros((batch, size)) for _ in names)
        states = as_tuple(names, hx)
        for k, state in enumerate(states):
            if state.dim() not in (1, 2):
                called = "hidden" if len(names) == 1 else f"hx[{k}]"
                raise InputError(
                    f"{kind}: Expected {called} to be 1D or 2D, got {state.dim()}D instead"
                )
        states = states if dims == 2 else tuple(s.unsqueeze(0) for s in states)
        for k, state in enumerate(states):
            if state.shape[-1] != size:
                raise ShapeError(
                    f"hidden{k} has inconsistent hidden_size: got {state.shape[-1]},"
                    f" expected {size}"
                )
            if state.shape != (batch, size):
                raise ShapeError(
                    f"Input batch size {batch} doesn't match hidden{k} batch size"
                    f" {state.shape[0]}: hidden{k} must be {(batch, size)}"
                )
        return states

    def extra_repr(self) -> str:
        """As torch's."""
        parts = [str(self.input_size), str(self.hidden_size)]
        return ", ".join([*parts, *([] if self.bias else ["bias=False"])])


class GRUCell(StepCell):
    """``torch.nn.GRUCell``: x [batch, input], h [batch, hidden] -> h'; `GRU` has the equations."""


class LSTMCell(StepCell):
    """``torch.nn.LSTMCell``: x [batch, input], (h, c) -> (h', c'); `LSTM` has the equations."""

    cell_name = "lstm"


class RNNCell(StepCell):
    """``torch.nn.RNNCell``: x [batch, input], h [batch, hidden] -> h', tanh or relu."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: Path | None = None,
        blocks: int | None = None,
    ) -> None:
        surface.Recorded.__init__(self)
        cell = arguments.in_blocks(rnn_cell(nonlinearity), blocks)
        self._begin(cell, input_size, hidden_size, bias, device, dtype, backend)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        """As torch's."""
        other = [] if self.nonlinearity == "tanh" else [f"nonlinearity={self.nonlinearity}"]
        return ", ".join([super().extra_repr(), *other])
