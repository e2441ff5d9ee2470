"""What torch's recurrent modules show beside `forward`: attributes, lists of weights, the repr."""

from __future__ import annotations

from torch import Tensor, nn

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

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        # As in torch, the next calls read these: packages put their fast weights here.
        for name, weight in zip(self._flat_weights_names, weights, strict=True):
            if getattr(self, name) is not weight:
                self._parameters[name] = weight  # type: ignore[assignment]

    # Checks of arguments that subclasses and packages call. `forward` makes its own.
    check_input = nn.RNNBase.check_input
    check_forward_args = nn.RNNBase.check_forward_args
    check_hidden_size = nn.RNNBase.check_hidden_size
    get_expected_hidden_size = nn.RNNBase.get_expected_hidden_size
    permute_hidden = nn.RNNBase.permute_hidden

    def _weights_have_changed(self) -> bool:
        return False  # nothing is kept of them from call to call

    def _init_flat_weights(self) -> None:
        """Nothing to do, as for `flatten_parameters`."""

    def _update_flat_weights(self) -> None:
        """Nothing to do, as for `flatten_parameters`."""

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
