"""PyTorch modules. In: tensors. Out: tensors, with gradients. Imports torch.

`Recurrent` runs any cell; `GRU` is that with the cell filled in.
"""

from grus.layers.recurrent import GRU, Recurrent

__all__ = ["GRU", "Recurrent"]
