"""`GRU`, `LSTM`, `RNN`: torch's constructors, in torch's order, on any path."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import nn

from grus.equations import CELLS, Cell, cell as find_cell
from grus.errors import InputError
from grus.layers.recurrent import Recurrent
from grus.layers.regularised import LayerOptions

NONLINEARITIES = {"tanh": "rnn", "relu": "rnn_relu"}


class GRU(Recurrent):
    """``torch.nn.GRU``: its arguments, parameters, shapes, initial weights.

    r = sigmoid(W.r @ x + U.r @ h + b.r); z = sigmoid(W.z @ x + U.z @ h + b.z); n = tanh(W.n @ x +
    b.n + r * (U.n @ h + d.n)); h' = z * h + (1 - z) * n. ``cell`` picks another GRU
    ("gru_reset_before", ...); ``gate_bias``, ``backend`` and the errors are `Recurrent`'s.
    """

    mode = "GRU"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        cell: str | Cell | type[Cell] = "gru",
        **options: Unpack[LayerOptions],
    ) -> None:
        check_no_projection(proj_size)
        shape = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(cell, *shape, device=device, dtype=dtype, **options)

    def extra_repr(self) -> str:
        """As torch's; the cell only where it is another one."""
        other = [] if self.cell == CELLS["gru"] else [f"cell={self.cell.name}"]
        return ", ".join([*self._sizes_repr(), *other])


class LSTM(Recurrent):
    """``torch.nn.LSTM``: its arguments, parameters, shapes, initial weights; the states are (h, c).

    i, f, o = sigmoid, g = tanh of W @ x + U @ h + b; c' = f * c + i * g; h' = o * tanh(c'). With
    ``proj_size`` h' is projected to that size by ``weight_hr`` [proj_size, H] (Sak et al. 2014).
    ``gate_bias={"f": 1.0}`` is the customary start; ``backend`` and the errors are `Recurrent`'s.
    """

    mode = "LSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        shape = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(
            lstm_cell(proj_size), *shape, proj_size=proj_size, device=device, dtype=dtype, **options
        )

    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args  # type: ignore[assignment]
    permute_hidden = nn.LSTM.permute_hidden  # type: ignore[assignment]

    def extra_repr(self) -> str:
        """As torch's."""
        return ", ".join(self._sizes_repr())


class RNN(Recurrent):
    """``torch.nn.RNN``: its arguments, parameters, shapes, initial weights.

    h' = tanh(W @ x + U @ h + b), or relu with ``nonlinearity="relu"``; ``backend`` and the errors
    are `Recurrent`'s.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        check_no_projection(proj_size)
        shape = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(rnn_cell(nonlinearity), *shape, device=device, dtype=dtype, **options)
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:
        """torch's name for it: RNN_TANH or RNN_RELU."""
        return f"RNN_{self.nonlinearity.upper()}"

    def extra_repr(self) -> str:
        """As torch's."""
        return ", ".join(self._sizes_repr())


def lstm_cell(proj_size: int) -> Cell:
    """The LSTM, with a projection where there is a size for it."""
    return find_cell("lstm_projected" if isinstance(proj_size, int) and proj_size else "lstm")


def check_no_projection(proj_size: int) -> None:
    """Raise InputError unless it is 0: torch's GRU and RNN have the argument and refuse it."""
    if proj_size != 0:
        raise InputError(
            "proj_size argument is only supported for LSTM, not RNN or GRU: it must be 0,"
            f" got {proj_size!r}"
        )


def rnn_cell(nonlinearity: str) -> Cell:
    """The plain cell of that function. Raises InputError for another name."""
    if not isinstance(nonlinearity, str) or nonlinearity not in NONLINEARITIES:
        raise InputError(f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'.")
    return find_cell(NONLINEARITIES[nonlinearity])
