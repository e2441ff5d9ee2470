"""Are a peer's numbers right? Compared with the reference in float64 before its time counts.

As in `answers`, large batches are compared in some rows of the batch, the first and the last among
them, and the allowance is what rounding may explain: each number passes through at most n
roundings from step to step, each off by at most u. Layers on top of each other add theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from grus_benchmarks.answers import OTHERS, UNIT, relative, rows_compared
from grus_benchmarks.pair import gradients
from grus_benchmarks.problem import BOTH_DX, FORWARD, Problem
from grus_benchmarks.wire import Array, Arrays


@dataclass(frozen=True)
class Truth:
    """What is right, in the rows compared."""

    rows: list[int]
    dy: Array
    """The gradient of the loss: 0 in the other rows, so that weights' gradients compare."""
    want: Arrays
    """By torch's names, float64; output and x in the rows compared only."""

    def wrong(self, problem: Problem, kind: str, found: Arrays) -> str:
        """What is wrong with these numbers, or nothing."""
        names = ["output"] if kind == FORWARD else [n for n in self.want if n != "x"]
        names += ["x"] if kind == BOTH_DX else []
        limits = allowed(problem)
        for name in names:
            if name not in found:
                return f"{name} is missing"
            value = found[name][:, self.rows] if name in ("output", "x") else found[name]
            if value.shape != self.want[name].shape:
                return f"{name} has shape {value.shape}, not {self.want[name].shape}"
            error = _relative(value, self.want[name])
            limit = limits["output" if name == "output" else "gradient"]
            if not error <= limit:  # so that NaN is wrong too
                what = name if name == "output" else f"the gradient of {name}"
                return f"{what} is off by {error / limit:.3g} times what rounding explains"
        return ""


def allowed(problem: Problem) -> dict[str, float]:
    """How far the output and a gradient may be off, relative to their norm."""
    unit, shape = UNIT["float32"] + UNIT["float64"], problem.shape
    inputs = max(width for _, width in problem.parts)
    forward = problem.layers * (inputs + shape.hidden + OTHERS)
    # With two directions or a layer below, a gradient passes through the next layer's products.
    through = problem.layers * (problem.gates * problem.directions * shape.hidden + OTHERS)
    backward = forward + through + shape.steps * shape.batch
    return {"output": forward * unit, "gradient": backward * unit}


def truth(problem: Problem, given: Arrays) -> Truth:
    """Run the reference's evaluator in float64, differentiated by torch."""
    import torch

    from grus import layers

    rows = rows_compared(problem.shape)
    dy = np.zeros_like(given["dy"])
    dy[:, rows] = given["dy"][:, rows]
    layer: Any = getattr(layers, problem.cell.upper())(
        problem.shape.inputs,
        problem.shape.hidden,
        num_layers=problem.layers,
        bidirectional=problem.directions == 2,
        backend="composite",
        dtype=torch.float64,
    )
    wide = {name: torch.from_numpy(value).double() for name, value in given.items()}
    layer.load_state_dict({name: wide[name] for name in layer.state_dict()})
    x, dy_rows = wide["x"][:, rows], torch.from_numpy(dy[:, rows]).double()
    if problem.step:
        states = tuple(wide[name][:, rows] for name in problem.states)
        with torch.no_grad():
            output = layer(x, states if len(states) > 1 else states[0])[0]
        return Truth(rows, dy, {"output": output.numpy()})
    output, found = gradients(layer, x, dy_rows, with_x=True)
    want = {name: value.numpy() for name, value in found.items()}
    return Truth(rows, dy, {"output": output.numpy(), **want})


def _relative(found: Array, want: Array) -> float:
    import torch

    tensor = partial(torch.tensor, dtype=torch.float64)
    return relative(tensor(found), tensor(want))
