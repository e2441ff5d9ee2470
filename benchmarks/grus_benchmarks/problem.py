"""Problems to measure: a shape, a cell, layers and directions, or one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from grus.errors import InputError
from grus_benchmarks.wire import Arrays

LARGEST = 2**33  # of T B I, T B H or H (I + H): beyond it a machine's memory ends first
DTYPES = ("float32", "float64")
GATES = {"gru": 3, "lstm": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    "gru": {},
    "lstm": {"cell": "lstm"},
    "bidirectional": {"directions": 2},
    "layers3": {"layers": 3},
    "step": {"step": True},
}
FORWARD, BOTH, BOTH_DX = "forward", "forward+backward", "forward+backward, dx"


@dataclass(frozen=True)
class Shape:
    """Time steps, rows of the batch, inputs, hidden units."""

    steps: int
    batch: int
    inputs: int
    hidden: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read "T,B,I,H". Raises InputError for anything else, and for sizes that cannot be."""
        try:
            sizes = tuple(map(int, text.split(",")))
        except ValueError:
            sizes = ()
        if len(sizes) != 4 or min(sizes) < 1:
            raise InputError(f"a shape is T,B,I,H, four whole numbers from 1 up, got {text!r}")
        steps, batch, inputs, hidden = sizes
        widest = max(inputs, hidden)
        if max(steps * batch * widest, hidden * (inputs + hidden)) > LARGEST:
            raise InputError(f"the shape {text} is too large to be measured")
        return cls(steps, batch, inputs, hidden)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """T, B, I, H."""
        return self.steps, self.batch, self.inputs, self.hidden

    def __str__(self) -> str:
        return f"T{self.steps} B{self.batch} I{self.inputs} H{self.hidden}"


@dataclass(frozen=True)
class Problem:
    """One row of the table: what every peer computes."""

    shape: Shape
    cell: str = "gru"
    layers: int = 1
    directions: int = 1
    step: bool = False
    """One step from a given state, weights packed before: serving, forward only."""
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str, dtype: str = "float32") -> Problem:
        """Read "T,B,I,H" or "lstm:T,B,I,H" (bidirectional, layers3, step). Raises InputError."""
        variant, colon, sizes = text.rpartition(":")
        if colon and variant not in VARIANTS:
            raise InputError(f"{variant!r} is none of {', '.join(VARIANTS)}, in {text!r}")
        shape = Shape.parse(sizes)
        if variant == "step" and shape.steps != 1:
            raise InputError(f"a step has T = 1, got {text!r}")
        return cls(shape, **VARIANTS[variant or "gru"], dtype=dtype)

    def __str__(self) -> str:
        words = [f"{self.shape.steps},{self.shape.batch},{self.shape.inputs},{self.shape.hidden}"]
        words += ["LSTM"] if self.cell == "lstm" else []
        words += ["bidirectional"] if self.directions == 2 else []
        words += [f"{self.layers} layers"] if self.layers > 1 else []
        words += ["step"] if self.step else []
        return " ".join(words)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds to time: a step has forward only."""
        return (FORWARD,) if self.step else (FORWARD, BOTH, BOTH_DX)

    @property
    def gates(self) -> int:
        """Blocks of the stacked weights."""
        return GATES[self.cell]

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states."""
        return ("h0", "c0") if self.cell == "lstm" else ("h0",)

    @property
    def parts(self) -> Iterator[tuple[str, int]]:
        """For each layer and direction: how its weights' names end (torch's), and its inputs."""
        for layer in range(self.layers):
            inputs = self.directions * self.shape.hidden if layer else self.shape.inputs
            for ending in ("", "_reverse")[: self.directions]:
                yield f"_l{layer}{ending}", inputs

    def draw(self, seed: int = 0) -> Arrays:
        """Weights as torch initialises them, normal x and dy; a step also has its states.

        The gradient dy of the loss is random, so that nothing cancels.
        """
        rng, (steps, batch, inputs, hidden) = np.random.default_rng(seed), self.shape.sizes
        bound, rows = 1 / sqrt(hidden), self.gates * hidden
        found: dict[str, Any] = {}
        for end, width in self.parts:
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, width),
                "weight_hh": (rows, hidden),
            }
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            found |= {k + end: rng.uniform(-bound, bound, shape) for k, shape in shapes.items()}
        found["x"] = rng.normal(size=(steps, batch, inputs))
        found["dy"] = rng.normal(size=(steps, batch, self.directions * hidden))
        if self.step:
            found |= {k: rng.normal(0, 0.5, (self.layers, batch, hidden)) for k in self.states}
        return {name: value.astype(self.dtype) for name, value in found.items()}

    def as_json(self) -> dict[str, Any]:
        """The fields, as a peer's process reads them back with `read`."""
        return asdict(self)

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Problem:
        """The inverse of `as_json`."""
        return cls(**{**fields, "shape": Shape(**fields["shape"])})


SIZES = """
    100,1,32,32 100,1,128,128 100,1,256,256 100,1,512,512 100,1,1024,1024 1000,1,64,64
    100,32,32,32 100,32,128,128 100,32,256,256 100,32,512,512 100,32,1024,1024
    100,64,512,512 100,128,256,256 35,32,28,256 step:1,1,256,256 32,64,32,128
    17,3,5,7 50,5,100,100 64,20,300,300
    lstm:100,1,128,128 lstm:100,1,256,256 lstm:100,32,128,128 lstm:100,32,512,512 lstm:35,32,28,256
    bidirectional:100,1,128,128 bidirectional:100,32,128,128 bidirectional:100,32,256,256
    layers3:100,1,128,128 layers3:100,32,128,128 layers3:100,32,256,256
"""
FEW = "100,1,128,128 100,32,128,128 step:1,1,256,256 lstm:100,32,128,128"
TABLE = tuple(map(Problem.parse, SIZES.split()))
QUICK = tuple(map(Problem.parse, FEW.split()))
AGAINST_TORCH = (
    *("100,1,32,32", "100,1,128,128", "100,1,256,256"),
    *("100,32,32,32", "100,32,128,128", "100,32,256,256", "100,32,512,512"),
    *("35,32,64,256", "17,3,5,7"),
)
"""The rows of `grus bench` without peers."""
