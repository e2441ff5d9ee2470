"""The whole run with peers: limits, problems one by one, files that grow with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from grus.atomic_file import replace
from grus.equations.text import counted
from grus_benchmarks.against import Command, Field, run
from grus_benchmarks.against_torch import busy, machine
from grus_benchmarks.figure import draw, figure_class
from grus_benchmarks.machine_limits import limits_of_machine
from grus_benchmarks.peers import PEERS, TENSORFLOW_PYTHON
from grus_benchmarks.problem import Problem
from grus_benchmarks.roofline import operations
from grus_benchmarks.tables import Measured, as_json, as_markdown, line

Say = Callable[[str], object]
START, LOADING, CELLS = 25.0, 8.0, 11
"""Seconds to start and to measure limits; to load one problem; times taken of one problem."""
HINTS = {"keras": f", or {TENSORFLOW_PYTHON} names a Python that has it"}
"""Advice for a missing peer."""
RATE, CALLS = 1.2e11, 55
"""Operations per second that peers reach on long calls; calls of one problem."""


def estimate(problems: Sequence[Problem], budget: float) -> float:
    """Seconds that all will take, about; long calls are counted by their operations."""
    long = sum(CALLS * operations(one, one.kinds[-1]) / RATE for one in problems)
    cells = sum(CELLS if len(one.kinds) > 1 else CELLS // 2 for one in problems)
    return START + LOADING * len(problems) + budget * cells + long


def bench_peers(
    problems: Sequence[Problem],
    folder: Path,
    threads: int,
    budget: float,
    say: Say = print,
    commands: Mapping[str, Command] | None = None,
) -> Measured:
    """Measure all problems with all peers; Markdown, JSON and figure after each of them."""
    import torch

    figure_class()
    commands = commands or {name: peer.command for name, peer in PEERS.items()}
    say(f"{counted(len(problems), 'problem')}, about {estimate(problems, budget) / 60:.0f} minutes")
    for warning in busy():
        say(warning)
    limits = limits_of_machine(threads)
    say(f"SGEMM peak {limits.peak / 1e9:.0f} GFLOP/s, triad {limits.triad / 1e9:.0f} GB/s")
    peers, before = Field(commands, threads), torch.get_num_threads()
    torch.set_num_threads(1)  # the reference runs here while frameworks compile
    try:
        where = machine("float32", threads)
        found = Measured(where, limits, peers.about, peers.missing)
        for name, about in peers.about.items():
            say(f"{name}: {about['version']}; {about['threads']}")
        for name, reason in peers.missing.items():
            say(f"{name}: not measured: {reason}{HINTS.get(name, '')}")
        _all(found, peers, problems, folder, budget, say)
    finally:
        peers.close()
        torch.set_num_threads(before)
    return found


def _all(
    found: Measured,
    peers: Field,
    problems: Sequence[Problem],
    folder: Path,
    budget: float,
    say: Say,
) -> None:
    told = dict(found.missing)
    begin, whole = time.perf_counter(), estimate(problems, budget) - START
    for result in run(peers, problems, budget):
        found.results.append(result)
        found.idle = peers.idles()
        done, taken = len(found.results), time.perf_counter() - begin
        expected = estimate(problems[:done], budget) - START
        left = (whole - expected) * taken / expected
        say(f"{result.problem}  ({result.seconds:.0f} s; about {left / 60:.1f} minutes left)")
        for one in line(result, told):
            say(one)
        write(found, folder)


def write(found: Measured, folder: Path) -> None:
    """The three files, each whole or not at all."""
    replace(folder / "peers.json", as_json(found).encode())
    replace(folder / "peers.md", as_markdown(found).encode())
    replace(folder / "peers.png", draw(found))
