"""The vectors: cases that real GRUs have got wrong, each with the reason why it is here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from grus.dialects import TorchRecord
from grus.equations import Cell
from grus.mistakes import Array, Case, Weights


def single(array: Array) -> Array:
    """Numbers that float32 holds too, so that float32 code gets the same case."""
    return array.astype(np.float32).astype(np.float64)


class Drawer:
    """Random cases with one seed; every weight and bias is non-zero and differs from the others."""

    def __init__(self, cell: Cell, seed: int = 0) -> None:
        self.cell, self.rng = cell, np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        """Random numbers that float32 holds."""
        return single(self.rng.normal(0, scale, shape))

    def weights(self, inputs: int, hidden: int, layers: int, both: bool, bias: bool) -> Weights:
        """Weights by PyTorch's names, for every layer and direction."""
        weights: dict[str, Array] = {}
        for k in range(layers):
            width = inputs if k == 0 else hidden * (2 if both else 1)
            shapes = TorchRecord(self.cell).shapes({"input": width, "hidden": hidden}, bias)
            for end in ("", "_reverse") if both else ("",):
                for name, shape in shapes.items():
                    weights[f"{name}_l{k}{end}"] = self.normal(*shape, scale=0.6)
        return weights

    def case(
        self,
        name: str,
        why: str,
        steps: int = 5,
        batch: int = 3,
        inputs: int = 3,
        hidden: int = 4,
        *,
        layers: int = 1,
        both: bool = False,
        bias: bool = True,
        h0: bool = True,
        weights: Weights | None = None,
        **more: Any,
    ) -> Case:
        """A case of these sizes."""
        rows = layers * (2 if both else 1)
        return Case(
            name,
            why,
            x=self.normal(steps, batch, inputs),
            weights=weights or self.weights(inputs, hidden, layers, both, bias),
            h0=self.normal(rows, batch, hidden, scale=0.7) if h0 else None,
            num_layers=layers,
            bidirectional=both,
            dy=self.normal(steps, batch, hidden * (2 if both else 1)),
            dh_n=self.normal(rows, batch, hidden),
            **more,
        )


LENGTHS = np.array([3, 0, 5, 1])
RESETS = np.zeros((6, 3), bool)
RESETS[0, 0] = RESETS[2, 1] = RESETS[3, 2] = RESETS[5, 0] = True
LEFT = np.array([[0, 1, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1]], bool)


def cases(cell: Cell, seed: int = 0) -> tuple[Case, ...]:
    """The vectors for a GRU cell, the same for the same seed."""
    draw = Drawer(cell, seed)
    biases = draw.case("biases", "input and recurrent biases, non-zero and unequal", 4)
    zeros = draw.case("h0 absent", "no initial state is zeros", h0=False)
    resets = draw.case("resets", "resets at the first, a middle and the last step", 6,
                       resets=RESETS)  # fmt: skip
    zoneout = draw.rng.random((5, 3, 4)) < 0.4
    padded = draw.case("lengths", "0, 1 and all steps, not sorted; padding is noise", 5, 4,
                       lengths=LENGTHS)  # fmt: skip
    nan = np.where(np.arange(5)[:, None, None] < LENGTHS[:, None], padded.x, np.nan)
    return (
        draw.case("one step", "one step, one row", 1, 1),
        biases,
        draw.case("h0 given", "the state is carried over six steps", 6),
        zeros,
        again(zeros, "h0 zeros", "zeros are no initial state", h0=np.zeros((1, 3, 4))),
        draw.case("no bias", "no biases, no initial state, three rows", bias=False, h0=False),
        again(biases, "other sizes", "the same weights, another time and batch",
              x=draw.normal(7, 2, 3), h0=draw.normal(1, 2, 4), dy=draw.normal(7, 2, 4),
              dh_n=draw.normal(1, 2, 4)),
        again(biases, "step by step", "one call a step is the whole sequence", stepwise=True),
        draw.case("two layers", "layers have weights of their own", inputs=4, layers=2),
        draw.case("two directions", "the backward final state stands at the first step", both=True),
        draw.case("two of both", "two layers of two directions", layers=2, both=True),
        padded,
        again(padded, "lengths, NaN padding", "padding reaches nothing", x=nan),
        draw.case("lengths, two directions", "backward begins at each row's last step", 5, 4,
                  both=True, lengths=LENGTHS),
        draw.case("left padding", "a mask: padding before, after, both; the state waits",
                  mask=LEFT),
        resets,
        again(resets, "resets as 0 and 1", "integers are what bools are",
              resets=RESETS.astype(np.int64)),
        again(resets, "resets as floats", "floats are what bools are",
              resets=RESETS.astype(np.float64)),
        draw.case("zoneout", "a unit that is kept has its old state; a mask for each step",
                  zoneout=zoneout.astype(np.float64)),
    )  # fmt: skip


def again(case: Case, name: str, why: str, **changed: Any) -> Case:
    """The case with some things changed."""
    return replace(case, name=name, why=why, **changed)
