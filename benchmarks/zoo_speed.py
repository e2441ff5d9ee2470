"""Published cells against torchrecurrent's layers of the same weights, in turns, in one process.

    python benchmarks/zoo_speed.py [CELL ...] [--blocks 7] [--shape 100,32,128,128]

Each layer's output, and the gradient of its input, is first compared with torchrecurrent's. A
number is how many times as fast ours is: by the medians over the blocks, and by the least of them,
which other work on the machine moves less. Two threads, float32; backward is to the parameters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import grus
from grus.dialects.tensor_layout import ADDED
from grus.equations import Weight
from grus_benchmarks.problem import Shape
from grus_benchmarks.turns import Timing, geometric_mean, measure
from torchrecurrent_cells import THEIRS, families

SHAPES = "100,32,128,128", "100,1,128,128"
UNIT = 2.0**-24


def pair(name: str, shape: Shape) -> tuple[grus.Recurrent, nn.Module]:
    """Our layer and theirs, with the same weights."""
    import torchrecurrent

    kind, settings, _ = THEIRS[name]
    torch.manual_seed(0)
    theirs: Any = getattr(torchrecurrent, kind.removesuffix("Cell"))(
        shape.inputs, shape.hidden, **settings
    )
    ends = shape.hidden**-0.5
    for parameter in theirs.parameters():
        if parameter.numel() > 1:
            nn.init.uniform_(parameter, -ends, ends)
    ours = grus.Recurrent(name, shape.inputs, shape.hidden)
    stacked = families(name, theirs.cells[0])
    parts = {
        Weight(family, gate): part
        for family, gates in ours.cell.families.items()
        for gate, part in zip(
            gates, torch.from_numpy(stacked[family]).chunk(len(gates)), strict=True
        )
    }
    with torch.no_grad():
        for tensor in ours.record.tensors:
            blocks = getattr(ours, f"{tensor.name}_l0").chunk(len(tensor.blocks))
            for weight, block in zip(tensor.blocks, blocks, strict=True):
                block.zero_() if weight.family == ADDED else block.copy_(parts[weight])
    return ours, theirs


def check(ours: nn.Module, theirs: nn.Module, x: Tensor, dy: Tensor) -> None:
    """Raise AssertionError where outputs or gradients of x are further apart than roundings of
    that many products are."""
    x = x.clone().requires_grad_()
    outputs = [layer(x)[0] for layer in (ours, theirs)]
    gradients = [torch.autograd.grad(y, x, dy)[0] for y in outputs]
    chain = len(x) * (x.shape[2] + dy.shape[2]) * UNIT
    for one, other in (outputs, gradients):
        assert (one - other).abs().max() <= chain * other.abs().max()


def calls(layer: nn.Module, x: Tensor, dy: Tensor) -> tuple[Callable[[], object], ...]:
    """Forward without gradients; forward and backward to the parameters."""
    parameters = list(layer.parameters())

    def forward() -> object:
        with torch.no_grad():
            return layer(x)

    return forward, lambda: torch.autograd.grad(layer(x)[0], parameters, dy, allow_unused=True)


def ratios(timing: Timing) -> tuple[float, float]:
    """How many times as fast ours is: by medians, by the least."""
    ours, theirs = timing.blocks.values()
    return timing.ratio, min(theirs) / min(ours)


def measured(name: str, shape: Shape, blocks: int) -> list[tuple[float, float]]:
    """The two ratios of forward, and of forward and backward, printed as they come."""
    ours, theirs = pair(name, shape)
    x = torch.randn(shape.steps, shape.batch, shape.inputs)
    dy = torch.randn(shape.steps, shape.batch, shape.hidden)
    check(ours, theirs, x, dy)
    row, each = f"{name:24}", []
    for one, other in zip(calls(ours, x, dy), calls(theirs, x, dy), strict=True):
        timing = measure({"ours": one, "theirs": other}, blocks)
        each.append(ratios(timing))
        row += f" {min(timing.blocks['ours']) * 1e3:9.3f} ms {each[-1][0]:7.1f} {each[-1][1]:7.1f}"
    print(row, flush=True)
    return each


def summary(rows: dict[str, list[tuple[float, float]]]) -> None:
    """Print the geometric means, and the slowest cells."""
    for k, what in enumerate(("forward", "forward and backward")):
        for j, by in enumerate(("medians", "least")):
            every = {name: row[k][j] for name, row in rows.items()}
            below = sorted((ratio, name) for name, ratio in every.items())[:3]
            slowest = ", ".join(f"{name} {ratio:.1f}" for ratio, name in below)
            mean = geometric_mean(list(every.values()))
            print(f"{what}, by {by}: geometric mean {mean:.1f} of {len(every)}; {slowest}")


def main() -> None:
    """Measure and print: a row a cell, then the geometric means and the slowest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", nargs="*", choices=[*THEIRS, []], default=[])
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--shape", type=Shape.parse, action="append")
    options = parser.parse_args()
    torch.set_num_threads(2)
    begin = time.perf_counter()
    for shape in options.shape or map(Shape.parse, SHAPES):
        print(f"{shape!s:24}", *(f"{word:>12} medians   least" for word in ("forward", "backward")))
        summary({name: measured(name, shape, options.blocks) for name in options.cells or THEIRS})
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
