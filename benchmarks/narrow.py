"""What bfloat16 in products brings and costs: time against float32, in turns; bits on a model.

    python benchmarks/narrow.py [RUN] [--blocks 9]

RUN is a folder of `grus train`; its held-out text is scored with each option. Times are medians
over blocks, ratios of medians. A sequence packs its weights inside its time, a stepper before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import grus
from grus.kernels.steps import Narrow
from grus.models.batches import split
from grus.models.evaluation import bits
from grus_benchmarks.turns import measure

KINDS: tuple[Narrow, ...] = ("", "weights", "products")
SEQUENCES = ((100, 1, 256), (100, 1, 512), (100, 1, 1024), (100, 32, 256), (100, 32, 512))
STEPS = (256, 512, 1024)


def weights_of(layer: Any) -> dict[str, Any]:
    """A layer's weights by family, as arrays."""
    return {f: w.detach().numpy() for f, w in layer.layer_weights(0).items()}


def sequences(shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """One call for each option, over one layer."""
    time, batch, hidden = shape
    layer = grus.GRU(hidden, hidden)
    held, x = weights_of(layer), np.random.default_rng(0).normal(size=(time, batch, hidden))
    x = x.astype(np.float32)
    return {kind: lambda kind=kind: grus.run("gru", held, x, narrow=kind) for kind in KINDS}


def steps(hidden: int) -> dict[str, Callable[[], object]]:
    """A step of one row for each option."""
    layer = grus.GRU(hidden, hidden)
    x, found = torch.randn(1, hidden), {}
    for kind in KINDS:
        stepper, out = layer.stepper(kind), (torch.empty(1, hidden), torch.zeros(1, 1, hidden))
        found[kind] = lambda stepper=stepper, out=out: stepper(x, out[1], out=out)
    return found


def report(name: str, calls: dict[str, Callable[[], object]], blocks: int) -> None:
    """Times and ratios of one shape."""
    clock = measure(calls, blocks)
    plain = clock.median("")
    said = [f"{k}: {clock.median(k) * 1e6:9.1f} us ({plain / clock.median(k):.2f} times)"
            for k in KINDS[1:]]  # fmt: skip
    print(f"{name:22} float32: {plain * 1e6:9.1f} us   {'   '.join(said)}", flush=True)


@torch.no_grad()
def score(run: Path, length: int) -> None:
    """Bits per character of the held-out text, by option."""
    from grus.models.checkpoint import load
    from grus.models.corpus import read

    checkpoint = load(run / "best.safetensors")
    model, every = checkpoint.model(), torch.from_numpy(read(checkpoint.source).ids)
    ids = split(every, checkpoint.settings.holdout)[1][: length + 1]
    for kind in KINDS:
        x = model.features(ids[:-1, None]).numpy()
        for layer in model.layers:
            x = grus.run(layer.cell, weights_of(layer), x, narrow=kind).output
        loss = functional.cross_entropy(model.linear(torch.from_numpy(x))[:, 0], ids[1:])
        print(f"{kind or 'float32':9} {bits(float(loss)):.5f} bits per character")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--length", type=int, default=50_000)
    given = parser.parse_args()
    if given.run:
        score(given.run, given.length)
    for shape in SEQUENCES:
        report("T{} B{} H{}".format(*shape), sequences(shape), given.blocks)
    for hidden in STEPS:
        report(f"one step, B1 H{hidden}", steps(hidden), given.blocks)


if __name__ == "__main__":
    main()
