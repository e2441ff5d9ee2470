"""What each regularised cell costs over the plain one, in turns, in one process.

    python benchmarks/regularised.py [--shape 100,32,128,128] [--blocks 9]

Layers are in training, so masks are drawn in every call. Times are medians over blocks, ratios of
medians; each kernel's output is first compared with the composite's under the same seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import grus
from grus_benchmarks.problem import Shape
from grus_benchmarks.turns import measure

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zoneout": {"zoneout": 0.1},
    "recurrent_dropout": {"recurrent_dropout": 0.2},
    "candidate_dropout": {"candidate_dropout": 0.2},
    "input_dropout": {"input_dropout": 0.2},
    "weight_dropout": {"weight_dropout": 0.2},
    "layer_norm split": {"layer_norm": "split"},
    "layer_norm joint": {"layer_norm": "joint"},
}
UNIT = 2.0**-24


def check(make: type, shape: Shape, options: dict[str, Any]) -> None:
    """Raise AssertionError where the kernels' output is not the composite's."""
    torch.manual_seed(0)
    layer = make(shape.inputs, shape.hidden, **options)
    slow = make(shape.inputs, shape.hidden, backend="composite", **options)
    slow.load_state_dict(layer.state_dict())
    x = torch.randn(12, 5, shape.inputs)
    found = []
    for one in (layer, slow):
        torch.manual_seed(1)
        found.append(one(x)[0])
    # Twelve steps, each a chain of inputs + hidden products.
    bound = 12 * (shape.inputs + shape.hidden) * UNIT
    assert (found[0] - found[1]).abs().max() <= bound


def train(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], object]:
    """Forward and backward to the parameters."""
    parameters = list(layer.parameters())
    return lambda: torch.autograd.grad(layer(x)[0], parameters, dy)


def forward(layer: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Forward alone, in training."""

    def run() -> object:
        with torch.no_grad():
            return layer(x)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=Shape.parse, default="100,32,128,128")
    parser.add_argument("--blocks", type=int, default=9)
    given = parser.parse_args()
    shape = given.shape
    x = torch.randn(shape.steps, shape.batch, shape.inputs)
    dy = torch.randn(shape.steps, shape.batch, shape.hidden)
    for make in (grus.GRU, grus.LSTM):
        layers = {}
        for name, options in OPTIONS.items():
            check(make, shape, options)
            layers[name] = make(shape.inputs, shape.hidden, **options)
        one = measure({n: forward(m, x) for n, m in layers.items()}, given.blocks)
        both = measure({n: train(m, x, dy) for n, m in layers.items()}, given.blocks)
        for name in layers:
            ratios = [t.median(name) / t.median("plain") for t in (one, both)]
            print(
                f"{make.__name__:5} {name:18} {one.median(name) * 1e3:8.3f} ms {ratios[0]:6.3f}"
                f"   with backward {both.median(name) * 1e3:8.3f} ms {ratios[1]:6.3f}"
            )


if __name__ == "__main__":
    main()
