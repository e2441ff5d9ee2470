"""torch's own recurrent functions and modules over a layer's weights: what runs plain cells on a
GPU, and what torch's recorders (trace, script) are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from grus.dialects import TorchRecord
from grus.equations import CELLS, Cell
from grus.kernels import PLAIN, Steps

NATIVE: dict[Cell, Callable[..., Any]] = {
    CELLS["gru"]: torch._VF.gru,
    CELLS["lstm"]: torch._VF.lstm,
    CELLS["rnn"]: torch._VF.rnn_tanh,
    CELLS["rnn_relu"]: torch._VF.rnn_relu,
}
MODULES: dict[Cell, tuple[type[nn.RNNBase], type[nn.RNNCellBase], str]] = {
    CELLS["gru"]: (nn.GRU, nn.GRUCell, "GRU"),
    CELLS["lstm"]: (nn.LSTM, nn.LSTMCell, "LSTM"),
    CELLS["lstm_projected"]: (nn.LSTM, nn.LSTMCell, "LSTM"),
    CELLS["rnn"]: (nn.RNN, nn.RNNCell, "RNN_TANH"),
    CELLS["rnn_relu"]: (nn.RNN, nn.RNNCell, "RNN_RELU"),
}
"""torch's classes for a cell: of sequences, of one step; and its mode."""
ADDED = (
    *("cell", "record", "backend", "gate_bias", "regularised", "recompute", "starts"),
    *("_rows", "_names", "_parameter_names", "_first", "_state_sizes"),
    *("_torch_class", "_drawn", "_random", "_calls", "_ready_record"),
    *("connect", "_connection", "_cell_rows", "_records"),
    *("further_sizes", "_further_axes", "positions"),
)
"""What `configure` sets and torch's modules have not."""


def module(layer: nn.Module) -> nn.Module | None:
    """torch's own module over the layer's parameters, hooks and parametrizations, which both then
    share; None for a cell that torch has not, and for layers that are joined."""
    held = layer.__dict__
    if held.get("connect"):
        return None
    regularised = held.get("regularised")
    if held["cell"] not in MODULES or (regularised is not None and regularised.given):
        return None
    sequences, steps, mode = MODULES[held["cell"]]
    twin = object.__new__(type(layer))
    twin.__dict__.update(held)
    become(twin, sequences if "_rows" in held else steps, mode)
    return twin


def become(module: nn.Module, to: type[nn.Module], mode: str) -> None:
    """Make a layer of ours torch's, in place: a module of the class ``to``."""
    held = module.__dict__
    lists: dict[str, Any] = {}
    if issubclass(to, nn.RNNBase):
        lists = {name: getattr(module, name) for name in ("_flat_weights_names", "_all_weights")}
        lists["mode"] = mode
    if issubclass(to, (nn.RNN, nn.RNNCell)):
        lists["nonlinearity"] = mode.removeprefix("RNN_").lower()
    for name in ADDED:
        held.pop(name, None)
    change_class(module, to)
    held.update(lists)
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()


def change_class(module: nn.Module, to: type[nn.Module]) -> None:
    """``to`` itself, or what torch's parametrizing would have made of it: a class of properties."""
    if is_parametrized(module):
        attributes = vars(type(module)).items()
        namespace = {k: v for k, v in attributes if k not in ("__dict__", "__weakref__")}
        to = type(f"Parametrized{to.__name__}", (to,), namespace)
    module.__class__ = to


def has(cell: Cell, steps: Steps) -> bool:
    """True where torch has this cell, and steps through it in this way."""
    plain = steps.lengths is None and steps.resets is None and steps.seed is None
    return plain and cell in NATIVE


def sequence(
    record: TorchRecord,
    x: Tensor,
    start: tuple[Tensor, ...],
    named: dict[str, Tensor],
    steps: Steps = PLAIN,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `function.sequence`, by torch's function for the cell.

    Its derivatives are torch's: no second one on cuDNN, which torch says.
    """
    first = tuple(state.unsqueeze(0).contiguous() for state in start)
    weights = list(named.values())  # in torch's order: ih, hh, then the biases
    grads = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *first, *weights))
    traced = torch._C._get_tracing_state() is not None  # then it serves both kinds of calls
    output, *final = NATIVE[record.cell](
        x.flip(0) if steps.reverse else x,
        first if len(first) > 1 else first[0],
        weights,
        "bias_ih" in named,
        1,  # layers
        0.0,  # dropout
        grads or traced,  # cuDNN keeps what backward needs only where it is told that it trains
        False,  # bidirectional
        False,  # batch first
    )
    return output.flip(0) if steps.reverse else output, tuple(s.squeeze(0) for s in final)
