"""PyTorch modules. In: tensors. Out: tensors, with gradients. Imports torch.

`Recurrent` runs any cell; `GRU`, `LSTM` and `RNN` are that with the cell filled in and torch's
constructors; `GRUCell`, `LSTMCell` and `RNNCell` take one step. `accelerate` puts them in the
place of torch's in a model; the rest helps around them: states, episodes, directions.
"""

from grus.layers.cells import GRUCell, LSTMCell, RNNCell
from grus.layers.connected import joined_output, run_dropped
from grus.layers.exchange import accelerate, restore
from grus.layers.modules import GRU, LSTM, RNN
from grus.layers.reading import read_layer
from grus.layers.recurrent import Recurrent
from grus.layers.rollout import (
    check_rollout,
    resets_from_dones,
    resets_from_episode_starts,
    resets_from_masks,
)
from grus.layers.states import InitialState, carry, last_state, split_directions

# fmt: off
__all__ = [
    "GRU", "LSTM", "RNN", "GRUCell", "InitialState", "LSTMCell", "RNNCell", "Recurrent",
    "accelerate", "carry", "check_rollout", "joined_output", "last_state",
    "read_layer", "resets_from_dones", "resets_from_episode_starts", "resets_from_masks", "restore",
    "run_dropped", "split_directions",
]
