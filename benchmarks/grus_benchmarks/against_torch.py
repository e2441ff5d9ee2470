"""`grus bench` without peers: this project's layer and torch's, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from grus import __version__
from grus.equations.text import counted
from grus_benchmarks.against import WRONG, Command, Field, Result, run
from grus_benchmarks.peers import OURS, PEERS
from grus_benchmarks.problem import BOTH, BOTH_DX, FORWARD, Problem
from grus_benchmarks.turns import Turns

TORCH = "torch"
KINDS = (FORWARD, BOTH, BOTH_DX)
WIDTHS = (22, 31, 31, 31)


def bench(
    problems: Sequence[Problem],
    threads: int,
    blocks: int,
    commands: Mapping[str, Command] | None = None,
) -> Iterator[Result]:
    """Compare both layers with the reference, then time ``blocks`` of each in turns, row by row.

    ``commands`` start the two processes. Raises InputError where one cannot be started.
    """
    peers = Field(commands or {name: PEERS[name].command for name in (OURS, TORCH)}, threads)
    try:
        yield from run(peers, problems, 0.0, blocks=blocks)
    finally:
        peers.close()


def machine(dtype: str, threads: int) -> dict[str, Any]:
    """Where and with what the figures were measured."""
    import torch

    return {
        "grus": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "system": platform.system(),
        "threads": threads,
        "dtype": dtype,
    }


def _processor() -> str:
    """The processor's name; Linux has it in a file, other systems in `platform`."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def head(dtype: str, threads: int) -> list[str]:
    """The lines above the table."""
    found = machine(dtype, threads)
    where = f"{found['processor']}, {counted(found['threads'], 'thread')}, {dtype}"
    titles = ["", *KINDS]
    columns = ["", *["     grus    torch.nn.GRU  ratio"] * len(KINDS)]
    return [
        f"grus {found['grus']} against torch.nn.GRU {found['torch']} on {where}",
        "Every shape is first compared with the reference. Medians of blocks in turns.",
        *busy(),
        "",
        "  ".join(t.center(w) if t else t.ljust(w) for t, w in zip(titles, WIDTHS, strict=True)),
        "  ".join(c.ljust(w) for c, w in zip(columns, WIDTHS, strict=True)).rstrip(),
    ]


def busy() -> list[str]:
    """A warning when other work keeps the processor busy, where the system tells."""
    load, processors = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1
    if load < processors / 2:
        return []
    return [f"Other work runs here (load {load:.1f} on {processors}): it disturbs these figures."]


def lines(result: Result) -> list[str]:
    """The line of one row."""
    name, reason = row_name(result.problem), failure(result)
    if reason:
        return [f"{name:22}  {reason}"]
    cells = []
    for kind in result.problem.kinds:
        turns = result.times[kind][TORCH]
        ours, theirs = (_time(statistics.median(each)) for each in (turns.ours, turns.theirs))
        cells.append(f"{ours:>9}  {theirs:>13}  {turns.ratio:4.2f}x")
    return ["  ".join([f"{name:22}", *cells])]


def row_name(problem: Problem) -> str:
    """``T100 B1 I32 H32``, and what else the problem is."""
    return " ".join([str(problem.shape), *str(problem).split()[1:]])


def failure(result: Result) -> str:
    """Why a row has no times, or nothing: one wrong answer is enough."""
    for who, reason in result.reasons.items():
        name = who.partition(",")[0].replace(TORCH, torch_name(result.problem))
        if reason.startswith(WRONG):
            return f"wrong answer, not timed: {name}: {reason.removeprefix(WRONG)}"
        if reason != "has none":
            return f"not timed: {name}: {reason}"
    return ""


def torch_name(problem: Problem) -> str:
    """torch's class."""
    return f"torch.nn.{problem.cell.upper()}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"


def as_json(results: Sequence[Result], dtype: str, threads: int) -> str:
    """Everything measured, block by block, in seconds."""
    rows = []
    for result in results:
        name, reason = torch_name(result.problem), failure(result)
        row: dict[str, Any] = {"shape": asdict(result.problem.shape)}
        if str(result.problem.shape) != row_name(result.problem):
            row["problem"] = str(result.problem)
        if reason:
            row["wrong"] = reason
        else:
            errors = {OURS: result.errors[OURS], name: result.errors[TORCH]}
            row["error as a part of what rounding explains"] = errors
            row |= {kind: _kind(each[TORCH], name) for kind, each in result.times.items()}
        rows.append(row)
    return json.dumps({"machine": machine(dtype, threads), "shapes": rows}, indent=2) + "\n"


def _kind(turns: Turns, name: str) -> dict[str, Any]:
    blocks = {OURS: turns.ours, name: turns.theirs}
    medians = {each: statistics.median(seconds) for each, seconds in blocks.items()}
    return {"median": medians, "ratio": turns.ratio, "blocks": blocks}
