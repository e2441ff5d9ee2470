"""What a trace costs: memory and time of two gates over 100,000 steps of 256 units, one row.

    python benchmarks/traces.py

Memory is how far a process grows beyond holding the layer and x, measured in a process of its own.
Time is beside the layer's plain forward call, the two taken in turn, medians of their ratios.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import grus

MIB = 2**20


def made(steps: int, hidden: int) -> tuple[grus.GRU, torch.Tensor]:
    """A layer and one row of input."""
    torch.manual_seed(0)
    return grus.GRU(hidden, hidden), torch.randn(steps, 1, hidden)


def held() -> float:
    """What this process holds now, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def growth(steps: int, hidden: int, values: list[str]) -> float:
    """MiB from having the layer and x to the highest that a trace takes the process."""
    layer, x = made(steps, hidden)
    before = held()
    trace = grus.trace(layer, x, values=values)
    assert trace.names == tuple(values)
    with open("/proc/self/status", encoding="utf-8") as file:
        most = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return most / 1024 - before


def seconds(call: Callable[[], object]) -> float:
    """Of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def ratios(steps: int, hidden: int, values: list[str], rounds: int) -> list[tuple[float, float]]:
    """(plain forward, trace) in seconds, taken in turn."""
    layer, x = made(steps, hidden)

    def plain() -> None:
        with torch.no_grad():
            layer(x)

    def traced() -> None:
        grus.trace(layer, x, values=values)

    plain(), traced()  # compiles
    return [(seconds(plain), seconds(traced)) for _ in range(rounds)]


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--values", default="r,z")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory", action="store_true", help="print the growth alone")
    asked = parser.parse_args()
    values = asked.values.split(",")
    if asked.memory:
        print(growth(asked.steps, asked.hidden, values))
        return
    options = [f"--steps={asked.steps}", f"--hidden={asked.hidden}", f"--values={asked.values}"]
    done = subprocess.run(
        [sys.executable, __file__, "--memory", *options], capture_output=True, text=True, check=True
    )
    size = asked.steps * asked.hidden * 4 * len(values) / MIB
    print(f"{', '.join(values)} of {asked.steps} steps, H={asked.hidden}, one row, float32")
    print(f"memory: the process grows by {float(done.stdout):.0f} MiB; the values are {size:.0f}")
    pairs = ratios(asked.steps, asked.hidden, values, asked.rounds)
    plain, traced = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"time: forward {plain:.3f} s, trace {traced:.3f} s, {ratio:.2f} times as long")
    print(f"threads: {torch.get_num_threads()}, rounds: {asked.rounds}")


if __name__ == "__main__":
    main()
