"""Gated recurrent networks from their equations.

A cell is a handful of equations; the reference, the gradient, the machine code, the PyTorch layer
and the hand calculation are derived from them. `import grus` needs no torch: the layers are
loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from grus.equations import CELLS, Cell, CellError, also_known, cell, hold
from grus.errors import InputError, needed_for

if TYPE_CHECKING:
    from grus import onnx
    from grus.builds import build
    from grus.dialects import convert, equivalent
    from grus.identification import identify
    from grus.layers import (
        GRU,
        LSTM,
        RNN,
        GRUCell,
        InitialState,
        LSTMCell,
        Recurrent,
        RNNCell,
        accelerate,
        carry,
        check_rollout,
        last_state,
        resets_from_dones,
        resets_from_episode_starts,
        resets_from_masks,
        restore,
        split_directions,
    )
    from grus.sequence import run
    from grus.tasks import fit
    from grus.traces import trace

__version__ = "0.1.0"
__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "CellError",
    "GRUCell",
    "InitialState",
    "InputError",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "__version__",
    "accelerate",
    "build",
    "carry",
    "cell",
    "check_rollout",
    "convert",
    "equivalent",
    "fit",
    "hold",
    "identify",
    "last_state",
    "onnx",
    "resets_from_dones",
    "resets_from_episode_starts",
    "resets_from_masks",
    "restore",
    "run",
    "split_directions",
    "trace",
]

# A cell goes by its dialects' names too, and published cells by theirs; those rooms are loaded when
# one is asked for.
also_known(lambda: import_module("grus.dialects.records").cells_by_name())
also_known(lambda: import_module("grus.zoo").by_name())

# Loaded when first asked for: layers bring torch, run brings NumPy and the compiler.
_LAYERS = (
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "InitialState",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "accelerate",
    "carry",
    "check_rollout",
    "last_state",
    "resets_from_dones",
    "resets_from_episode_starts",
    "resets_from_masks",
    "restore",
    "split_directions",
)
_LATE = {
    **dict.fromkeys(_LAYERS, "grus.layers"),
    "build": "grus.builds",
    "convert": "grus.dialects",
    "equivalent": "grus.dialects",
    "fit": "grus.tasks",
    "identify": "grus.identification",
    "run": "grus.sequence",
    "trace": "grus.traces",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "onnx":
        return import_module("grus.onnx")
    if name in _LATE:
        with needed_for(f"grus.{name}"):
            return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'grus' has no attribute {name!r}")
