"""What a file says of a layer beside its tensors, as the dialect that it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grus.dialects.activation import Activation
from grus.dialects.dialect import Dialect
from grus.errors import InputError

RNN, RNN_RELU = "rnn", "rnn_relu"
DEFAULTS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}


@dataclass(frozen=True)
class Said:
    """The dialect that a layer's settings mean; ``reverse`` if it runs backward alone."""

    dialect: Dialect
    reverse: bool = False
    notes: tuple[str, ...] = ()


def by_onnx(dialect: Dialect, said: Mapping[str, Any]) -> Said | None:
    """``dialect`` with the attributes of an ONNX node; None where it is not that node's.

    Raises InputError for attributes that no cell here has.
    """
    kind = said["class_name"]
    every = _activations(said, kind)
    relu = every[0].name == "relu"
    if dialect.cell_name != cell_of(kind, said.get("linear_before_reset", 0) != 0, relu):
        return None
    if said.get("input_forget", 0):
        raise InputError("an LSTM with input_forget=1, which ties two gates")
    direction = said.get("direction", "forward")
    count = len(DEFAULTS[kind])
    one = every[:count]
    if any(every[k : k + count] != one for k in range(0, len(every), count)):
        raise InputError("two directions with different activations")
    roles = ("candidate",) if kind == "RNN" else ("gates", "candidate", "output")
    chosen: dict[str, Any] = dict(zip(roles, one, strict=False))
    if dialect.cell_name == RNN_RELU:
        chosen = {}
    clip = said.get("clip") or None
    notes: tuple[str, ...] = ()
    if said.get("layout"):
        notes = ("layout=1 (batch first) is no part of the weights; set it again",)
    return Said(dialect.activated(**chosen, clip=clip), direction == "reverse", notes)


def cell_of(kind: str, after: bool, relu: bool) -> str:
    """The cell of `CELLS` that a layer or node of this kind is, other activations aside."""
    if kind == "LSTM":
        return "lstm"
    if kind in ("RNN", "SimpleRNN"):
        return RNN_RELU if relu else RNN
    return "gru" if after else "gru_reset_before"


def _activations(said: Mapping[str, Any], kind: str) -> list[Activation]:
    """The node's activations; each takes the next alpha and beta where it has them."""
    names = said.get("activations") or DEFAULTS[kind]
    alphas = iter(said.get("activation_alpha", ()))
    betas = iter(said.get("activation_beta", ()))
    found = []
    for name in names:
        usual = _word(name)
        alpha = usual.alpha if usual.alpha is None else next(alphas, usual.alpha)
        beta = usual.beta if usual.beta is None else next(betas, usual.beta)
        found.append(Activation(usual.name, alpha, beta))
    return found


def _word(name: str) -> Activation:
    from grus.dialects.records_run import ONNX_WORDS

    for word, usual in ONNX_WORDS.items():
        if word.lower() == name.lower():
            return usual
    raise InputError(f"the activation {name[:60]!r}, which no dialect here has")
