"""What lengths, resets, a small call and keeping little cost, in turns, in one process.

    python benchmarks/sequences.py [lengths resets small recompute] [--blocks 9]

Each result is compared with the plain layer's, row by row, before its time counts. Times are
medians over blocks, ratios of medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import grus
from grus.kernels.steps import Steps
from grus_benchmarks.turns import Timing, measure

Call = Callable[[], object]


def layers(inputs: int, hidden: int) -> tuple[grus.GRU, nn.GRU]:
    """Ours and torch's, with the same weights."""
    torch.manual_seed(0)
    ours, theirs = grus.GRU(inputs, hidden), nn.GRU(inputs, hidden)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def backward(layer: nn.Module, run: Callable[[], Tensor], dy: Tensor) -> Call:
    """Forward, and backward to the parameters."""
    parameters = list(layer.parameters())
    return lambda: torch.autograd.grad(run(), parameters, dy)


def show(title: str, timing: Timing) -> None:
    """Milliseconds of each, and how many times the first one's time the others take."""
    first, *_ = timing.blocks
    for name in timing.blocks:
        ratio = timing.median(name) / timing.median(first)
        print(f"{title:34} {name:18} {timing.median(name) * 1e3:10.3f} ms  {ratio:6.3f}")


def lengths(blocks: int) -> None:
    """Lengths uniform in 1..T against the same number of valid steps run densely, and packed."""
    time, batch, size = 1000, 32, 128
    ours, theirs = layers(size, size)
    generator = torch.Generator().manual_seed(1)
    counts = torch.randint(1, time + 1, (batch,), generator=generator)
    x = torch.randn(time, batch, size, generator=generator)
    dense = torch.randn(int(counts.sum()) // batch, batch, size, generator=generator)
    packed = pack_padded_sequence(x, counts, enforce_sorted=False)
    with torch.no_grad():
        found, _ = ours(x, lengths=counts)
        for row, count in enumerate(counts):
            assert torch.equal(found[:count, row], ours(x[:count, row : row + 1])[0][:, 0])
            assert not found[count:, row].any()
        peer = theirs(packed)[0].data
        assert (ours(packed)[0].data - peer).abs().max() < 1e-5
    dy, dpacked, ddense = (torch.randn_like(y) for y in (x, packed.data, dense))
    calls: dict[str, Call] = {
        "dense": lambda: ours(dense),
        "lengths=": lambda: ours(x, lengths=counts),
        "ours, packed": lambda: ours(packed),
        "nn.GRU, packed": lambda: theirs(packed),
    }

    def forward(call: Call) -> Call:
        def run() -> object:
            with torch.no_grad():
                return call()

        return run

    title = f"T{time} B{batch} H{size} lengths 1..T"
    timing = measure({name: forward(call) for name, call in calls.items()}, blocks)
    show(f"{title}, forward", timing)
    both = {
        "dense": backward(ours, lambda: ours(dense)[0], ddense),
        "lengths=": backward(ours, lambda: ours(x, lengths=counts)[0], dy),
        "ours, packed": backward(ours, lambda: ours(packed)[0].data, dpacked),
        "nn.GRU, packed": backward(theirs, lambda: theirs(packed)[0].data, dpacked),
    }
    show(f"{title}, with backward", measure(both, blocks))


def resets(blocks: int) -> None:
    """A reset in a hundred steps against none."""
    time, batch, size = 100, 32, 128
    ours, _ = layers(size, size)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(time, batch, size, generator=generator)
    flags = torch.rand(time, batch, generator=generator) < 0.01
    flags[0] = True
    with torch.no_grad():
        found, _ = ours(x, resets=flags)
        for row in range(batch):
            cuts = [*torch.nonzero(flags[:, row])[:, 0].tolist(), time]
            for first, end in pairwise(cuts):
                want = ours(x[first:end, row : row + 1])[0][:, 0]
                assert torch.equal(found[first:end, row], want)
    dy = torch.randn_like(x)

    def plain() -> object:
        with torch.no_grad():
            return ours(x)

    def with_resets() -> object:
        with torch.no_grad():
            return ours(x, resets=flags)

    title = f"T{time} B{batch} H{size}"
    show(f"{title}, forward", measure({"none": plain, "resets=": with_resets}, blocks))
    both = {
        "none": backward(ours, lambda: ours(x)[0], dy),
        "resets=": backward(ours, lambda: ours(x, resets=flags)[0], dy),
    }
    show(f"{title}, with backward", measure(both, blocks))


def small(blocks: int) -> None:
    """One call at T1 B1 H8: what a call costs before it computes anything."""
    ours, theirs = layers(8, 8)
    x = torch.randn(1, 1, 8)

    def quiet(layer: nn.Module) -> Call:
        def run() -> object:
            with torch.no_grad():
                return layer(x)

        return run

    def train(layer: nn.Module) -> Call:
        def run() -> None:
            layer(x)[0].sum().backward()

        return run

    pair = {"ours": ours, "nn.GRU": theirs}
    show("T1 B1 H8, no grad", measure({n: quiet(p) for n, p in pair.items()}, blocks))
    both: dict[str, Call] = {"ours": lambda: ours(x), "nn.GRU": lambda: theirs(x)}
    show("T1 B1 H8, forward", measure(both, blocks))
    show("T1 B1 H8, with backward", measure({n: train(p) for n, p in pair.items()}, blocks))


def recompute(blocks: int) -> None:
    """Keeping the states of a few steps and running the others again."""
    time, batch, size = 1000, 32, 128
    ours, _ = layers(size, size)
    less, _ = layers(size, size)
    less.recompute = True
    x = torch.randn(time, batch, size)
    dy = torch.randn_like(x)
    calls = {
        "kept": backward(ours, lambda: ours(x)[0], dy),
        "recompute=True": backward(less, lambda: less(x)[0], dy),
    }
    for one, other in zip(calls["kept"](), calls["recompute=True"](), strict=True):
        assert (one - other).norm() <= 1e-5 * one.norm()
    show(f"T{time} B{batch} H{size}, with backward", measure(calls, blocks))
    shape, axes = (time, batch), {"hidden": size, "input": size}
    for name, steps in (("kept", Steps()), ("recompute=True", Steps(recompute=True))):
        kept = grus.kernels.saved_size(ours.cell, shape, axes, steps)
        print(f"{'bytes beside the output':34} {name:18} {4 * kept:13,}")


KINDS = {f.__name__: f for f in (lengths, resets, small, recompute)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[])
    parser.add_argument("--blocks", type=int, default=9)
    options = parser.parse_args()
    for kind in options.kinds or KINDS:
        KINDS[kind](options.blocks)


if __name__ == "__main__":
    main()
