"""A stack whose layers are joined: what a row runs as, its parameters, and joining on any path.

`equations.connections` says what joins layers. On the kernels a layer of one direction runs as the
cell that has the sum among its equations, so that a call, its gradient, a wave of layers, a stepper
and a trace compute it in the same place. Elsewhere (two directions, whose sum is of both; dropout
between layers, which is of a layer's own output; torch's functions; nodes of ONNX) the same
equations are evaluated over torch's operations, after the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grus.dialects import TorchRecord
from grus.equations import Connection, Input, Name, Weight, joined
from grus.kernels import PLAIN
from grus.layers import parameters
from grus.layers.composite import TORCH
from grus.layers.dispatch import choose
from grus.layers.inputs import Directions, Further
from grus.layers.parameters import Names
from grus.layers.states import Row, State, final, initial
from grus.reference import evaluate

if TYPE_CHECKING:
    from grus.layers.recurrent import Recurrent

GATE = tuple(map(TorchRecord.tensor, Connection.HIGHWAY))
"""The names of a highway's weight and bias."""
Drop = Callable[[Tensor], Tensor]
RunRow = Callable[..., tuple[Tensor, Row]]
Above = Callable[[int, Tensor, Tensor], Tensor]


def named(connection: Connection, rows: list[Names], ends: list[str]) -> list[Names]:
    """The parameters of each row of h_n: those of its cell, then those of its highway."""
    if connection.kind != "highway":
        return rows
    directions = len(rows) // connection.layers
    return [
        row | ({name: name + end for name in GATE} if connection.joins[k // directions] else {})
        for k, (row, end) in enumerate(zip(rows, ends, strict=True))
    ]


def gate_shapes(layer: Recurrent, row: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a highway's weight and bias; each direction mixes its own part of the output."""
    axes = layer._axes(row)
    size = axes[str(layer.cell.shapes.values[layer.cell.output])]
    return dict(zip(GATE, ((size, axes["input"]), (size,)), strict=True))


def records(
    connection: Connection, record: TorchRecord, bidirectional: bool
) -> tuple[TorchRecord, ...]:
    """What each row of h_n runs as on the kernels."""
    if bidirectional or not any(connection.joins):
        return (record,) * (connection.layers * (1 + bidirectional))
    whole = TorchRecord(joined(record.cell, connection.kind))
    return tuple(whole if joins else record for joins in connection.joins)


def stacked(
    layer: Recurrent, x: Tensor, steps: Directions, between: Drop | None, more: Further
) -> tuple[Tensor, RunRow, Above | None]:
    """The input, how one row is run, and what makes of its output what the next one reads."""
    connection, run = layer._connection, partial(layer._layer, more=more)
    if connection.kind == "dense":
        return x, run, partial(joined_output, layer)
    whole = not layer.bidirectional and between is None
    whole = whole and not (layer.training and layer.regularised.input_dropout)
    path = choose(x, layer.backend, layer.cell, steps[0])
    if whole and path in ("kernels", "composite"):
        return x, run, None
    if steps[0].lengths is not None and connection.joins[0]:
        # What is added to an output past a row's end, 0, may be NaN; higher layers read zeros.
        time = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        valid = time < torch.as_tensor(steps[0].lengths, device=x.device)
        x = torch.where(valid.unsqueeze(2), x, 0.0)
    return x, partial(run, joined=False), partial(joined_output, layer)


def joined_output(layer: Recurrent, number: int, read: Tensor, y: Tensor) -> Tensor:
    """What the layer above ``number`` reads, or the stack gives."""
    return layer._connection.above(number, read, y, partial(join, layer), beside)


def beside(read: Tensor, y: Tensor) -> Tensor:
    """One behind the other along the last axis."""
    return torch.cat([read, y], dim=-1)


def join(layer: Recurrent, number: int, read: Tensor, y: Tensor) -> Tensor:
    """The output of a layer added to, or mixed with, what it read, both [time, batch, width]."""
    kind, directions = layer.connect, 1 + layer.bidirectional
    values: dict[Any, Tensor] = {Input("x"): read, Name(Connection.OUTPUT): y}
    if kind == "highway":
        rows = range(number * directions, (number + 1) * directions)
        tensors = [parameters.read(layer, layer._rows[row]) for row in rows]
        for family, name in zip(Connection.HIGHWAY, GATE, strict=True):
            values[Weight(family, "t")] = torch.cat([each[name] for each in tensors])
    for name, expr in Connection.EQUATIONS[kind]:
        values[Name(name)] = evaluate(expr, values, TORCH)
    return values[Name("y")]


def run_dropped(
    layer: Recurrent, x: Tensor, state: State | None, drop: Drop
) -> tuple[Tensor, State]:
    """A stack of one layer of one direction whose own output ``drop`` changes before it is
    joined."""
    start = initial(layer.cell.states, layer._state_sizes, 1, x, state, 3)
    y, row = layer._layer(0, x, start[0], PLAIN, joined=False)
    return joined_output(layer, 0, x, drop(y)), final([row], 3)


def earlier(layer: Recurrent) -> None:
    """Give a plain layer that was pickled before layers could be joined what it has now."""
    held: dict[str, Any] = layer.__dict__
    held["_names"], held["_parameter_names"] = tuple(layer._rows[0]), tuple(layer._rows[0].values())
    drawn = held["_drawn"] or layer.record
    held["_random"] = layer.regularised.draws or held["_drawn"] is not None
    width = (1 + layer.bidirectional) * (layer.proj_size or layer.hidden_size)
    held |= {
        "connect": "",
        "positions": None,
        "further_sizes": {},
        "_further_axes": {},
        "_cell_rows": layer._rows,
        "_records": (layer.record,) * len(layer._rows),
        "_drawn": (drawn,) * (len(layer._rows) + 1),
        "_connection": Connection("", layer.input_size, width, layer.num_layers),
    }
