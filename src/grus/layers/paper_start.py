"""The weights of a published cell as training begins in its paper: ``initial="paper"``.

`grus cells NAME` shows how; weights that the record does not name are drawn as torch draws them.
It is not the default: one seed would give "gru" and "lstm" other weights than torch, and cells
that are compared would differ by more than their equations. ``gate_bias`` comes after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import init

from grus.dialects import TorchRecord
from grus.dialects.tensor_layout import ADDED
from grus.equations import Cell, Weight
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.zoo import Draw

Initial = Literal["torch", "paper"]
Starts = Mapping[Weight, "float | Draw"]
NOTHING: Starts = {}


def _uniform_by_inputs(part: Tensor, variance: float) -> None:
    bound = math.sqrt(3 * variance / part.shape[-1])
    init.uniform_(part, -bound, bound)


def _ramp(part: Tensor, first: float, last: float, power: float) -> None:
    way = torch.linspace(0.0, 1.0, len(part), dtype=part.dtype, device=part.device)
    part.copy_(first + (last - first) * way**power)


def _decay(part: Tensor, low: float, high: float) -> None:
    # softplus(part) = -log a, so part = log(1/a - 1).
    part.uniform_(low**2, high**2)
    part.copy_((part**-0.5 - 1).log())


FILL: dict[str, Callable[..., object]] = {
    "constant": init.constant_,
    "uniform": init.uniform_,
    "log_uniform": lambda part, low, high: init.uniform_(part, low, high).log_(),
    "normal": lambda part, deviation: init.normal_(part, 0.0, deviation),
    "normal_by_inputs": lambda part, variance: init.normal_(
        part, 0.0, math.sqrt(variance / part.shape[-1])
    ),
    "uniform_by_inputs": _uniform_by_inputs,
    "glorot_uniform": init.xavier_uniform_,
    "orthogonal": init.orthogonal_,
    "identity": init.eye_,
    "ramp": _ramp,
    "decay": _decay,
}
"""By the names of `grus.zoo.KINDS`: what fills a weight."""


def starts(cell: Cell, asked: Initial, longest: int | None, bias: bool) -> Starts:
    """What each weight begins with, ``longest`` put in; nothing where torch's start is asked for.

    Raises InputError for a cell whose start is not known, and for a layer that cannot have it.
    """
    if asked == "torch" and longest is None:
        return NOTHING
    from grus.zoo import PUBLISHED, Draw

    if asked not in ("torch", "paper"):
        raise InputError(f'initial must be "torch" or "paper", got {asked!r}')
    known = PUBLISHED.get(cell.name)
    begin = known.starts if asked == "paper" and known and known.cell == cell else {}
    if asked == "paper" and not begin:
        raise InputError(
            f"no record says how cell {cell.name} starts; `grus cells NAME` shows them"
        )
    lacking = [w.name for w in begin if w.family in "bd"]
    if lacking and not bias:
        raise InputError(f'initial="paper" sets {lacking[0]}, which bias=False takes away')
    needs = [w.name for w, d in begin.items() if isinstance(d, Draw) and "longest" in d.numbers]
    if bool(needs) != (longest is not None):
        what = f"{needs[0]} of {cell.name} is drawn by it" if needs else "nothing is drawn by it"
        raise InputError(
            f"longest= is the longest lag that matters, in steps: {what}, got {longest}"
        )
    if longest is not None and not longest >= 2:
        raise InputError(f"longest must be a number of steps, 2 or more, got {longest!r}")
    return {w: d.at(longest) if isinstance(d, Draw) else d for w, d in begin.items()}


@torch.no_grad()
def fill(module: nn.Module, record: TorchRecord, rows: list[dict[str, str]], begin: Starts) -> None:
    """Set every weight of ``begin`` in every row; a second bias that torch adds to one is 0."""
    from grus.zoo import Draw

    for names in rows if begin else ():
        for tensor in record.tensors:
            parts = getattr(module, names[tensor.name]).chunk(len(tensor.blocks))
            for weight, part in zip(tensor.blocks, parts, strict=True):
                start = begin.get(weight)
                if weight.family == ADDED and Weight("b", weight.gate) in begin:
                    start = 0.0
                if isinstance(start, Draw):
                    FILL[start.kind](part, *start.numbers)
                elif start is not None:
                    init.constant_(part, start)
