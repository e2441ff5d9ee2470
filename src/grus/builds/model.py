"""What is built: layers one behind the other, each a cell with its weights in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import Cell, columns, sizes
from grus.errors import InputError
from grus.kernels import make_plan
from grus.sequence import run

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer to build: a cell, and its weights by family in float32, as `grus.run` takes them.

    A linear layer is a cell too, one that reads no state: ``h_next = W.h @ x + b.h``.
    """

    path: str
    """Where it stood in the source, for messages: "gru", "rnn.0", "dense_1"."""
    cell: Cell
    weights: Mapping[str, Array]
    inputs: int
    """The numbers that it reads a step: x, and behind it the further inputs of the cell."""
    outputs: int
    """The numbers of its output."""


def layer(path: str, cell: Cell, weights: Mapping[str, Any], inputs: int) -> Layer:
    """The layer whose x has ``inputs`` numbers, its weights rounded to float32.

    Raises InputError, beginning with the path, for weights that do not fit the cell, that are NaN
    or infinite in float32, and for a cell that the kernels cannot run.
    """
    try:
        make_plan(cell)
        with np.errstate(over="ignore"):  # refused in the next line
            rounded = {f: np.ascontiguousarray(w, np.float32) for f, w in weights.items()}
        if odd := [f for f, w in rounded.items() if not np.isfinite(w).all()]:
            raise InputError(f"the weights {odd[0]} hold NaN or infinity in float32")
        size = sizes(cell, rounded, inputs)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    width = sum(count for _, count in columns(cell, size).values())
    axis = cell.shapes.values[cell.output]
    return Layer(path, cell, rounded, width, size[axis] if axis else 1)


@dataclass(frozen=True, eq=False)
class Model:
    """Layers one behind the other, each step: what a build is made of.

    ``embedding`` [symbols, inputs of the first layer] is looked up before it, where the model reads
    symbols; a character model without one reads one-hot vectors. ``symbols`` are the characters of
    a character model, or with ``unit`` "byte" each the character of a byte's number. ``notes`` tell
    the user what was assumed or left out.
    """

    layers: tuple[Layer, ...]
    embedding: Array | None = None
    symbols: tuple[str, ...] = ()
    unit: str = "character"
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> int:
        """The numbers that the model reads a step."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """The numbers that it gives a step."""
        return self.layers[-1].outputs

    def run(self, x: Array) -> Array:
        """``x`` [time, inputs] float32 -> [time, outputs], all states beginning at zero.

        By `grus.run`, layer after layer: the numbers that every build gives, bit for bit. Raises
        InputError for another x.
        """
        x = np.asarray(x)
        if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != self.inputs:
            raise InputError(
                f"x must be float32 [time, {self.inputs}], got {x.dtype} {list(x.shape)}"
            )
        for each in self.layers:
            size = sizes(each.cell, each.weights, each.inputs, row=True)
            parts = {
                name: x[:, None, first : first + count]
                for name, (first, count) in columns(each.cell, size).items()
            }
            x = run(each.cell, each.weights, parts.pop("x"), further=parts).output[:, 0]
        return x
