"""`accelerate` makes torch's recurrent modules grus' in place; `restore` makes them torch's again.

A module stays the object that it was: its class is exchanged and nothing else is touched, so that
parameters, optimizers, hooks, parametrizations, tied modules and references held in lists stay
valid. torch's parametrizations exchange a module's class in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from grus.equations import cell as find_cell
from grus.errors import expect
from grus.layers import native
from grus.layers.arguments import OPTIONS
from grus.layers.cells import GRUCell, LSTMCell, RNNCell, StepCell
from grus.layers.modules import GRU, LSTM, RNN, lstm_cell, rnn_cell
from grus.layers.recurrent import Recurrent

Say = Callable[[str], object]
Module = TypeVar("Module", bound=nn.Module)

OURS: dict[type[nn.Module], type[Recurrent] | type[StepCell]] = {
    nn.GRU: GRU,
    nn.LSTM: LSTM,
    nn.RNN: RNN,
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
    nn.RNNCell: RNNCell,
}
CELLS = {
    nn.GRU: lambda m: find_cell("gru"),
    nn.LSTM: lambda m: lstm_cell(m.proj_size),
    nn.RNN: lambda m: rnn_cell(m.nonlinearity),
    nn.GRUCell: lambda m: find_cell("gru"),
    nn.LSTMCell: lambda m: find_cell("lstm"),
    nn.RNNCell: lambda m: rnn_cell(m.nonlinearity),
}
# What torch's modules hold and ours compute.
_CACHES = ("_flat_weights", "_flat_weight_refs", "_flat_weights_names", "_all_weights")
# What a class may define and still be torch's in all it does.
_HARMLESS = {
    *("__init__", "__module__", "__qualname__", "__doc__", "__annotations__", "__annotate_func__"),
    *("__firstlineno__", "__static_attributes__", "__parameters__", "__annotations_cache__"),
    "__slotnames__",  # left on a class by copying
}


def accelerate(model: Module, *, say: Say | None = print) -> Module:
    """Make each ``nn.GRU``, ``LSTM``, ``RNN`` and their cells in ``model`` grus' own; returns it.

    In place, anywhere in the tree, ``model`` itself included. Weights, state_dict and numbers (to
    rounding) stay the same; ``isinstance(m, nn.GRU)`` is False afterwards. A subclass that adds
    no more than an ``__init__`` is exchanged, any other is left as it is. ``say`` is called with a
    line for each module exchanged or left; None keeps silent. Raises InputError for what is no
    module.
    """
    expect("accelerate takes a torch module", model, nn.Module)
    for name, module in model.named_modules():
        base = next((b for b in OURS if isinstance(module, b)), None)
        if base is None:
            continue
        reason = _reason(module, base)
        if reason is None:
            _exchange(module, base)
        if say is not None:
            done = "torch's -> grus'" if reason is None else f"left: {reason}"
            say(f"{name or 'the model itself'}: {base.__name__}: {done}")
    return model


def restore(model: Module, *, say: Say | None = print) -> Module:
    """Undo `accelerate`, in place; returns ``model``. Layers made as grus' own stay so."""
    expect("restore takes a torch module", model, nn.Module)
    for name, module in model.named_modules():
        was = module.__dict__.get("_torch_class")
        if was is None:
            continue
        native.become(module, was, native.MODULES[module.cell][2])
        if say is not None:
            say(f"{name or 'the model itself'}: {type(module).__name__}: grus' -> torch's")
    return model


def _reason(module: nn.Module, base: type[nn.Module]) -> str | None:
    """Why a module is left as it is; None if it may be exchanged."""
    if "forward" in module.__dict__:
        return "its forward was replaced"
    kind = _plain_class(module)
    for base_class in kind.__mro__:
        added = sorted(set(vars(base_class)) - _HARMLESS)
        if base_class not in base.__mro__ and added:
            return f"{kind.__name__} defines {', '.join(added)}"
    return None


def _plain_class(module: nn.Module) -> type[nn.Module]:
    """Its class; where torch parametrized it, the class that it had before."""
    kind = type(module)
    return kind.__bases__[0] if is_parametrized(module) else kind


def _exchange(module: nn.Module, base: type[nn.Module]) -> None:
    held, cell = module.__dict__, CELLS[base](module)
    for name in _CACHES:
        held.pop(name, None)
    held["_torch_class"] = _plain_class(module)
    native.change_class(module, OURS[base])
    if isinstance(module, Recurrent):
        held.pop("mode", None)
        module.configure(cell, **{name: getattr(module, name) for name in OPTIONS})
    elif isinstance(module, StepCell):
        module.configure(cell, module.input_size, module.hidden_size, bias=module.bias)
