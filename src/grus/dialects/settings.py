"""What a file says of a layer beside its tensors, as the dialect that it means."""

from __future__ import annotations

from dataclasses import dataclass

from grus.dialects.dialect import Dialect

RNN, RNN_RELU = "rnn", "rnn_relu"


@dataclass(frozen=True)
class Said:
    """The dialect that a layer's settings mean; ``reverse`` if it runs backward alone."""

    dialect: Dialect
    reverse: bool = False
    notes: tuple[str, ...] = ()


def cell_of(kind: str, after: bool, relu: bool) -> str:
    """The cell of `CELLS` that a layer or node of this kind is, other activations aside."""
    if kind == "LSTM":
        return "lstm"
    if kind in ("RNN", "SimpleRNN"):
        return RNN_RELU if relu else RNN
    return "gru" if after else "gru_reset_before"
