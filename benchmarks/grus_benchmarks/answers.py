"""Is the answer right? Both layers against the reference's evaluator in float64, on the very shape.

The reference is slow, so where a shape is large only some rows of the batch are compared, spread
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
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from grus_benchmarks.pair import Pair, Shape, gradients

if TYPE_CHECKING:
    from torch import Tensor, nn

BUDGET = 2e9  # operations of the reference's forward run
OTHERS = 16
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}


class WrongAnswerError(ValueError):
    """A layer whose answer rounding does not explain; its speed means nothing."""


def rows_compared(shape: Shape) -> list[int]:
    """The rows of the batch that the reference runs: all, or some from the first to the last."""
    each = 6.0 * shape.steps * shape.hidden * (shape.inputs + shape.hidden)
    count = int(min(shape.batch, max(2, BUDGET // each)))
    if count == shape.batch:
        return list(range(count))
    return [round(k * (shape.batch - 1) / (count - 1)) for k in range(count)]


def allowed(shape: Shape, dtype: str) -> dict[str, float]:
    """How far the output and a gradient may be off, relative to their norm."""
    unit = UNIT[dtype] + UNIT["float64"]  # the reference rounds too
    forward = shape.inputs + shape.hidden + OTHERS
    backward = forward + 3 * shape.hidden + OTHERS + shape.steps * shape.batch
    return {"output": forward * unit, "gradient": backward * unit}


def check(pair: Pair) -> dict[str, float]:
    """Compare both layers with the reference; return how far off each is, at worst.

    The figure is the worst error of output and gradients as a part of what is allowed. Raises
    WrongAnswerError, naming the layer and what is wrong, where it is above 1 or not a number.
    """
    import torch

    rows = rows_compared(pair.shape)
    dy = torch.zeros_like(pair.dy)
    dy[:, rows] = pair.dy[:, rows]
    want = _reference(pair, rows)
    limits = allowed(pair.shape, str(pair.x.dtype).removeprefix("torch."))
    worst = {}
    for name, layer in pair.layers.items():
        found = _answers(layer, pair.x, dy, rows)
        errors = {
            part: relative(found[part], want[part])
            / limits["output" if part == "output" else "gradient"]
            for part in want
        }
        for part, error in errors.items():
            if not error <= 1:  # so that NaN is wrong too
                raise WrongAnswerError(
                    f"{name} at {pair.shape}: {part} is off by {error:.3g} times what rounding"
                    " explains"
                )
        worst[name] = max(errors.values())
    return worst


def _reference(pair: Pair, rows: list[int]) -> dict[str, Tensor]:
    """The reference's evaluator over torch operations in float64, differentiated by torch."""
    import torch

    from grus.layers import GRU

    shape = pair.shape
    layer = GRU(shape.inputs, shape.hidden, backend="composite", dtype=torch.float64)
    layer.load_state_dict(pair.layers["grus"].state_dict())
    x, dy = pair.x[:, rows].double(), pair.dy[:, rows].double()
    return _answers(layer, x, dy, list(range(len(rows))))


def _answers(layer: nn.Module, x: Tensor, dy: Tensor, rows: list[int]) -> dict[str, Tensor]:
    output, found = gradients(layer, x, dy, with_x=True)
    parts = {f"the gradient of {name}": value for name, value in found.items()}
    parts["the gradient of x"] = parts["the gradient of x"][:, rows]
    return {"output": output[:, rows], **parts}


def relative(found: Tensor, want: Tensor) -> float:
    """The error as a part of the norm; and no single number may be off by more of its share."""
    off = (found.double() - want).abs()
    norm = float(want.norm())
    if norm == 0.0:
        return float(off.max()) if off.numel() else 0.0
    # One number may err as far as the whole may in the mean, log(count) standard deviations out.
    single = float(off.max()) * sqrt(want.numel()) / (norm * OTHERS)
    return max(float(off.norm()) / norm, single)
