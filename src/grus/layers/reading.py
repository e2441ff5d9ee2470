"""A layer of grus or torch as it would run now: the cell and the tensors of each row of h_n."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from grus.dialects import TorchRecord, current
from grus.equations import Cell
from grus.errors import InputError
from grus.kernels import Array, make_plan
from grus.layers.cells import StepCell
from grus.layers.exchange import CELLS
from grus.layers.parameters import bind, suffixes
from grus.layers.recurrent import Recurrent


@dataclass(frozen=True, eq=False)
class Row:
    """A row of h_n: what it runs as, and its tensors by the record's names and by the layer's."""

    record: TorchRecord
    tensors: dict[str, Tensor]
    names: tuple[str, ...]

    def weights(self, tensors: Iterable[Tensor] | None = None) -> dict[str, Array]:
        """The weights by family as arrays, of ``tensors`` in the place of its own."""
        parameters = self.tensors.values() if tensors is None else tensors
        return bind(self.record, tuple(self.tensors)).weights(tuple(parameters))


@dataclass(frozen=True, eq=False)
class LayerRead:
    """The rows of a layer; ``cell`` is that of all, masks replaced by their means; ``axes`` are the
    sizes of its axes in the first row."""

    cell: Cell
    axes: dict[str, int]
    rows: tuple[Row, ...]


STEPS: tuple[type[nn.Module], ...] = (StepCell, nn.GRUCell, nn.LSTMCell, nn.RNNCell)
"""What takes one step, and has one row."""


def read_layer(layer: nn.Module, what: str, *, steps: bool = False) -> LayerRead:
    """The rows of a layer, with ``steps`` also of what takes one step. Raises InputError for a
    module that is none, with ``what`` reads it, and for a cell that the kernels cannot run."""
    base = _base(layer, what, STEPS if steps else ())
    cell: Cell = layer.cell if isinstance(layer, (Recurrent, StepCell)) else CELLS[base](layer)
    make_plan(cell)  # refuses by name what the kernels cannot run
    sizes = {name: getattr(layer, f"{name}_size", 0) for name in ("input", "hidden", "proj")}
    axes: dict[str, int] = {"input": sizes["input"], "hidden": sizes["hidden"]}
    axes |= {"projection": sizes["proj"]} | getattr(layer, "_further_axes", {})
    whole: Any = None if isinstance(layer, STEPS) else layer
    ends = suffixes(whole.num_layers, whole.bidirectional) if whole else [""]
    records = getattr(layer, "_records", (TorchRecord(cell),) * len(ends))
    rows = []
    for record, end in zip(records, ends, strict=True):
        stored = tuple(record.shapes(axes, layer.bias))
        names = tuple(name + end for name in stored)
        tensors = current(layer, names)
        rows.append(Row(record, {n: tensors[n + end] for n in stored}, names))
    return LayerRead(cell, axes, tuple(rows))


def _base(layer: nn.Module, what: str, more: tuple[type[nn.Module], ...]) -> type[nn.Module]:
    """The class of grus or torch whose call a layer runs. Raises InputError."""
    bases: tuple[type[nn.Module], ...] = (Recurrent, nn.GRU, nn.LSTM, nn.RNN, *more)
    base = next((b for b in bases if isinstance(layer, b)), None)
    if base is None:
        raise InputError(
            f"{what} is of a layer: grus.Recurrent, GRU, LSTM, RNN or torch's nn.GRU, nn.LSTM,"
            f" nn.RNN; got {type(layer).__name__}"
        )
    changed = base is not StepCell and type(layer).forward is not base.forward
    if changed or "forward" in layer.__dict__:
        raise InputError(
            f"{type(layer).__name__} has a forward of its own, which {what} would not follow;"
            f" give the plain {base.__name__} inside"
        )
    return base
