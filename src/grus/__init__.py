"""Gated recurrent networks from their equations.

A cell is a handful of equations; the reference, the gradient, the machine code, the PyTorch layer
and the hand calculation are derived from them. `import grus` needs no torch: the layers are
loaded when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from grus.equations import CELLS, Cell, CellError, cell
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.layers import GRU, Recurrent

__version__ = "0.1.0"
__all__ = ["CELLS", "GRU", "Cell", "CellError", "InputError", "Recurrent", "__version__", "cell"]

_LAYERS = ("GRU", "Recurrent")


def __getattr__(name: str) -> Any:
    if name in _LAYERS:
        from grus import layers

        return getattr(layers, name)
    raise AttributeError(f"module 'grus' has no attribute {name!r}")
