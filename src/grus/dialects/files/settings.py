"""What a file says of a layer beside its tensors, as the dialect that it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grus.dialects.activation import Activation
from grus.dialects.dialect import Dialect
from grus.errors import InputError

RNN, RNN_RELU = "rnn", "rnn_relu"


@dataclass(frozen=True)
class Said:
    """The dialect that a layer's settings mean; ``reverse`` if it runs backward alone."""

    dialect: Dialect
    reverse: bool = False
    notes: tuple[str, ...] = ()


def by_onnx(dialect: Dialect, said: Mapping[str, Any]) -> Said | None:
    """``dialect`` with the attributes of an ONNX node; None where it is not that node's.

    Raises InputError for what the node says that no cell here has, or no weights carry.
    """
    from grus.dialects.onnx.node import Node

    kind, beside = said["class_name"], ("class_name", "node", "notes")
    node = Node.read(kind, "", {name: value for name, value in said.items() if name not in beside})
    form = node.forms[0]
    relu = form.activations[0].name == "Relu"
    if dialect.cell_name != cell_of(kind, form.linear_before_reset, relu):
        return None
    if form.input_forget:
        raise InputError(f"an {kind} node with input_forget=1, which ties two gates")
    if any(other != form for other in node.forms):
        raise InputError("two directions with different activations")
    roles = ("candidate",) if kind == "RNN" else ("gates", "candidate", "output")
    named = map(_activation, form.activations)
    chosen: dict[str, Any] = dict(zip(roles, named, strict=False))
    if dialect.cell_name == RNN_RELU:
        chosen = {}
    notes: tuple[str, ...] = said.get("notes", ())
    if node.layout:
        notes += ("layout=1 (batch first) is no part of the weights; set it again",)
    return Said(dialect.activated(**chosen, clip=form.clip), node.direction == "reverse", notes)


def cell_of(kind: str, after: bool, relu: bool) -> str:
    """The cell of `CELLS` that a layer or node of this kind is, other activations aside."""
    if kind == "LSTM":
        return "lstm"
    if kind in ("RNN", "SimpleRNN"):
        return RNN_RELU if relu else RNN
    return "gru" if after else "gru_reset_before"


def _activation(one: Any) -> Activation:
    """A node's activation as the dialects' own, with the numbers that it takes."""
    from grus.dialects.records_run import ONNX_WORDS

    usual = ONNX_WORDS.get(one.name)
    if usual is None:
        raise InputError(f"the activation {one.name!r}, which no dialect here has")
    taken = {number: getattr(one, number) for number in one.numbers}
    return Activation(usual.name, **taken)
