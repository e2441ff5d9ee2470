"""How fast two versions are on the benchmark's table, in one run, turn by turn.

    python benchmarks/versions.py SOURCE OTHER_SOURCE [--shapes 100,1,32,32 lstm:...] [--rounds 7]

SOURCE is a folder that holds the package, such as ``src`` of a worktree. Each version lives in a
process of its own and takes its turn while the other waits: A B, B A, ... . Results are compared
first; bits need not be equal here (`bits.py` asks that), only the numbers. Prints, per problem and
kind, how many times as fast the first version is as the other (median of the rounds' ratios), and
the geometric mean. Small problems are added to the table: they show the way of a call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

from grus_benchmarks.problem import FORWARD, TABLE, Problem

SMALL = tuple(map(Problem.parse, ["1,1,8,8", "10,1,8,8", "20,4,32,32", "lstm:10,2,16,16"]))
SECONDS = 0.04
"""How long one measurement runs at least."""


def calls(problem: Problem) -> dict[str, Callable[[], Any]]:
    """What is timed, by kind, on a layer of the version that this process has."""
    import torch

    import grus

    numbers = {k: torch.from_numpy(v) for k, v in problem.draw().items()}
    cls = grus.LSTM if problem.cell == "lstm" else grus.GRU
    shape = problem.shape
    layer = cls(
        shape.inputs,
        shape.hidden,
        num_layers=problem.layers,
        bidirectional=problem.directions == 2,
        dtype=numbers["x"].dtype,
    )
    layer.load_state_dict({k: v for k, v in numbers.items() if k.startswith(("weight", "bias"))})
    x = numbers["x"]
    if problem.step:
        stepper, state = layer.stepper(), numbers["h0"]
        return {FORWARD: lambda: stepper(x[0], state)}

    def forward() -> Any:
        with torch.no_grad():
            return layer(x)

    def both() -> Any:
        layer.zero_grad()
        y = layer(x)[0]
        y.backward(numbers["dy"])
        return y, *(p.grad for p in layer.parameters())

    def both_dx() -> Any:
        x.grad = None
        x.requires_grad_(True)
        try:
            return *both(), x.grad
        finally:
            x.requires_grad_(False)

    return dict(zip(problem.kinds, (forward, both, both_dx), strict=True))


def total(values: Any) -> list[float]:
    """Sums of squares of every tensor of a result, however nested."""
    if isinstance(values, (tuple, list)):
        return [number for value in values for number in total(value)]
    return [float(values.detach().double().square().sum())]


def work() -> None:
    """One version: reads a line (problem, kind, repeats), writes seconds a call, or sums at 0."""
    made: dict[str, dict[str, Callable[[], Any]]] = {}
    for line in sys.stdin:
        text, kind, repeats = json.loads(line)
        if text not in made:
            made = {text: calls(Problem.parse(text))}
        call = made[text][kind]
        if not repeats:
            answer: Any = total(call())
        else:
            call()
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            answer = (time.perf_counter() - start) / repeats
        print(json.dumps(answer), flush=True)


class Version:
    """A process that measures one version."""

    def __init__(self, source: str) -> None:
        paths = [str(Path(source).resolve()), str(Path(__file__).parent)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, text: str, kind: str, repeats: int) -> Any:
        """Seconds a call, or sums of squares where repeats is 0."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([text, kind, repeats]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def ratio(new: Version, old: Version, text: str, kind: str, rounds: int) -> tuple[float, float]:
    """(old / new time, median of the rounds; new seconds)."""
    first, other = new.ask(text, kind, 0), old.ask(text, kind, 0)
    for a, b in zip(first, other, strict=True):
        if abs(a - b) > 1e-4 * max(abs(a), abs(b)):
            sys.exit(f"{text} {kind}: the versions disagree, {a} and {b}")
    repeats = max(1, int(SECONDS / new.ask(text, kind, 3)))
    pairs = []
    for turn in range(rounds):
        order = (new, old) if turn % 2 else (old, new)
        times = {version: version.ask(text, kind, repeats) for version in order}
        pairs.append((times[old] / times[new], times[new]))
    return median(r for r, _ in pairs), median(t for _, t in pairs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("other")
    parser.add_argument("--shapes", nargs="*", default=None)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    texts = asked.shapes or [
        (
            ("step:" if p.step else f"layers{p.layers}:" if p.layers > 1 else "")
            + ("bidirectional:" if p.directions == 2 else "lstm:" if p.cell == "lstm" else "")
            + ",".join(map(str, p.shape.sizes))
        )
        for p in (*SMALL, *TABLE)
    ]
    new, old, ratios = Version(asked.source), Version(asked.other), []
    for text in texts:
        for kind in Problem.parse(text).kinds:
            times_as_fast, seconds = ratio(new, old, text, kind, asked.rounds)
            ratios.append(times_as_fast)
            print(f"{text:28} {kind:22} {seconds * 1e6:12.1f} us {times_as_fast:6.3f}", flush=True)
    print(f"geometric mean {exp(sum(map(log, ratios)) / len(ratios)):.3f} of {len(ratios)}")
    print(f"least {min(ratios):.3f}")


if __name__ == "__main__":
    work() if "--work" in sys.argv else main()
