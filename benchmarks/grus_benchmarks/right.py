"""Are a layer's numbers right? The reference's evaluator in float64, on the very problem.

The reference is slow, so where a problem is large only some rows of the batch are compared, spread
from the first to the last, over the whole sequence. The timed layers still run the whole batch;
the gradient of the loss with respect to the output is 0 in the other rows, so that the weights'
gradients are those of the rows compared.

How far off rounding may be. A number of an output or a gradient is made by sums whose terms pass
through at most n roundings from one step to the next: I + H products and sums and a dozen others
forward, 3 H and as many backward, and T B in the sum over time and batch. Each rounding is off by
at most u (2^-24 in float32). At torch's default initialisation a GRU's state forgets (its
Jacobian shrinks what it is applied to), so errors of earlier steps do not pile up, and in the norm
errors of changing sign grow as sqrt(n) u (Higham and Mary, A new approach to probabilistic
rounding error analysis, 2019). n u is allowed: sqrt(n) times what is expected, and still far less
than one wrong number among all those compared would cause: 1 / sqrt(count) of the norm.
Layers on top of each other add theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from grus_benchmarks.problem import BOTH_DX, FORWARD, Problem, Shape
from grus_benchmarks.wire import Array, Arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

BUDGET = 2e9  # operations of the reference's forward run
OTHERS = 16
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True)
class Truth:
    """The right answer, in the rows compared."""

    rows: list[int]
    dy: Array
    """The gradient of the loss: 0 in the other rows, so that weights' gradients compare."""
    want: Arrays
    """By torch's names, float64; output and x in the rows compared only."""

    def wrong(self, problem: Problem, kind: str, numbers: Arrays) -> str:
        """A sentence on what is wrong with these numbers, or ""."""
        return self.worst(problem, kind, numbers)[1]

    def worst(self, problem: Problem, kind: str, numbers: Arrays) -> tuple[float, str]:
        """The largest error as a part of what rounding explains, and what is wrong, or nothing."""
        names = ["output"] if kind == FORWARD else [n for n in self.want if n != "x"]
        names += ["x"] if kind == BOTH_DX else []
        limits, worst = allowed(problem), 0.0
        for name in names:
            if name not in numbers:
                return inf, f"{name} is missing"
            value = numbers[name][:, self.rows] if name in ("output", "x") else numbers[name]
            if value.shape != self.want[name].shape:
                return inf, f"{name} has shape {value.shape}, not {self.want[name].shape}"
            error = relative(value, self.want[name])
            error /= limits["output" if name == "output" else "gradient"]
            if not error <= 1:  # so that NaN is wrong too
                what = name if name == "output" else f"the gradient of {name}"
                return error, f"{what} is off by {error:.3g} times what rounding explains"
            worst = max(worst, error)
        return worst, ""


def rows_compared(shape: Shape) -> list[int]:
    """The rows of the batch that the reference runs: all, or some from the first to the last."""
    each = 6.0 * shape.steps * shape.hidden * (shape.inputs + shape.hidden)
    count = int(min(shape.batch, max(2, BUDGET // each)))
    if count == shape.batch:
        return list(range(count))
    return [round(k * (shape.batch - 1) / (count - 1)) for k in range(count)]


def allowed(problem: Problem) -> dict[str, float]:
    """How far the output and a gradient may be off, relative to their norm."""
    unit = UNIT[problem.dtype] + UNIT["float64"]  # the reference rounds too
    shape = problem.shape
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
    with torch.random.fork_rng(devices=[]):  # the weights drawn are replaced at once
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


def gradients(
    layer: nn.Module, x: Tensor, dy: Tensor, *, with_x: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Forward and backward: the output, and the gradients by parameter name (and "x")."""
    import torch

    wanted = dict(layer.named_parameters())
    if with_x:
        x = x.detach().requires_grad_()
        wanted["x"] = x  # type: ignore[assignment]
    output = layer(x)[0]
    found = torch.autograd.grad(output, list(wanted.values()), dy)
    return output.detach(), dict(zip(wanted, found, strict=True))


def relative(numbers: Array, want: Array) -> float:
    """The error as a part of the norm; and no single number may be off by more of its share."""
    off = np.abs(numbers.astype(np.float64) - want)
    norm = float(np.linalg.norm(want))
    if norm == 0.0:
        return float(off.max()) if off.size else 0.0
    # One number may err as far as the whole may in the mean, log(count) standard deviations out.
    single = float(off.max()) * sqrt(want.size) / (norm * OTHERS)
    return max(float(np.linalg.norm(off)) / norm, single)
