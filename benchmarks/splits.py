"""The split that the model chooses against every single way of sharing a call, shape by shape.

    python benchmarks/splits.py [--threads 2] [--blocks 9] [--training]

All ways give the same bits, which is checked first. Times are medians of blocks in turns; the last
column is the chosen way's time over the fastest one's, 1.10 at most is wanted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import get_args

import torch
from torch import Tensor

import grus
from grus.kernels import split
from grus.kernels.split import Way
from grus_benchmarks.turns import measure

SHAPES = (
    *((100, 1, h, h) for h in (16, 32, 64, 128, 256, 512)),
    *((10, 1, h, h) for h in (32, 128, 512)),
    *((100, b, 64, 64) for b in (2, 3, 8, 32)),
    *((100, b, 256, 256) for b in (2, 3, 5, 8, 16, 32)),
    *((2, 8, 32, 32), (20, 5, 100, 100), (1, 64, 128, 128), (100, 2, 512, 512)),
)
WAYS = get_args(Way)


@contextmanager
def forced(way: Way | None) -> Iterator[None]:
    """Every call goes this way."""
    split.forced = way
    try:
        yield
    finally:
        split.forced = None


def call(layer: grus.GRU, x: Tensor, *, training: bool) -> Callable[[], list[Tensor]]:
    """A call without gradients, or forward and backward."""
    parameters = list(layer.parameters())

    def run() -> list[Tensor]:
        if not training:
            with torch.no_grad():
                return [layer(x)[0]]
        y = layer(x)[0]
        torch.autograd.grad(y, parameters, torch.ones_like(y))
        return [y.detach()]

    return run


def go(way: Way | None, run: Callable[[], list[Tensor]]) -> list[Tensor]:
    """The call, this way."""
    with forced(way):
        return run()


def main() -> None:
    """Measure every shape, print a line each and the worst ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--training", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'T,B,I,H':18}{''.join(f'{way:>12}' for way in WAYS)}  chosen        of the fastest")
    worst = 0.0
    for shape in SHAPES:
        steps, batch, inputs, hidden = shape
        torch.manual_seed(0)
        layer, x = grus.GRU(inputs, hidden), torch.randn(steps, batch, inputs)
        run = call(layer, x, training=options.training)
        calls = {}
        want = run()[0]
        for way in (*WAYS, None):
            calls[way or "chosen"] = one = partial(go, way, run)
            assert torch.equal(one()[0], want), way
        times = measure(calls, options.blocks)
        fastest = min(times.median(way) for way in WAYS)
        ratio = times.median("chosen") / fastest
        worst = max(worst, ratio)
        each = "".join(f"{times.median(way) * 1e6:12.1f}" for way in WAYS)
        name = ",".join(map(str, shape))
        print(f"{name:18}{each}{times.median('chosen') * 1e6:12.1f}  {ratio:6.2f}", flush=True)
    print(f"worst: {worst:.2f}")


if __name__ == "__main__":
    main()
