"""PyTorch modules. In: tensors. Out: tensors, with gradients. Imports torch.

`Recurrent` runs any cell; `GRU`, `LSTM` and `RNN` are that with the cell filled in and torch's
constructors; `GRUCell`, `LSTMCell` and `RNNCell` take one step.
"""

from grus.layers.cells import GRUCell, LSTMCell, RNNCell
from grus.layers.modules import GRU, LSTM, RNN
from grus.layers.recurrent import Recurrent

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent"]
