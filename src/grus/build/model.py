from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grus.equations import Cell
from grus.sequence import run

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Layer:
    path: str
    cell: Cell
    weights: Mapping[str, Array]
    inputs: int
    outputs: int


@dataclass(frozen=True, eq=False)
class Model:
    layers: tuple[Layer, ...]
    embedding: Array | None = None
    symbols: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def run(self, x: Array) -> Array:
        for layer in self.layers:
            x = run(layer.cell, layer.weights, x[:, None, :]).output[:, 0]
        return x
