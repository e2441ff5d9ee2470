"""What torch's recurrent modules show beside `forward`: attributes, lists of weights, the repr."""

from __future__ import annotations

from torch import Tensor

from grus.equations import Cell
from grus.layers.parameters import Names
from grus.layers.recorders import Recorded
from grus.layers.regularised import Regularised


class TorchSurface(Recorded):
    """The attributes of ``nn.RNNBase`` that programs read."""

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    regularised: Regularised
    _rows: list[Names]

    def flatten_parameters(self) -> None:
        """Nothing to do: the parameters are read where they lie. It is here because torch's is."""

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters, one list for each layer and direction."""
        return [[getattr(self, name) for name in row.values()] for row in self._rows]

    @property
    def _all_weights(self) -> list[list[str]]:
        # Private in torch too, but read by packages; so are the two below.
        return [list(row.values()) for row in self._rows]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for row in self._rows for name in row.values()]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [weight for row in self.all_weights for weight in row]

    def extra_repr(self) -> str:
        """What ``print(layer)`` shows: the cell first, then what is not at its default."""
        return ", ".join([self.cell.name, *self._sizes_repr()])

    def _sizes_repr(self) -> list[str]:
        options = {
            "proj_size": (self.proj_size, 0),
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
        }
        named = [f"{name}={now}" for name, (now, usual) in options.items() if now != usual]
        named += [f"{name}={value!r}" for name, value in self.regularised.given.items()]
        return [str(self.input_size), str(self.hidden_size), *named]
