"""The table of a benchmark, row by row, and its JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from grus import __version__
from grus.equations.text import counted
from grus_benchmarks.answers import WrongAnswerError, check
from grus_benchmarks.clock import KINDS, Timing, calls, measure
from grus_benchmarks.pair import Pair, Shape

WIDTHS = (22, 31, 31, 31)


@dataclass(frozen=True)
class Row:
    """One shape: its timings by kind, or what is wrong with its answers."""

    shape: Shape
    timings: dict[str, Timing]
    worst: dict[str, float]
    """The worst error of each layer, as a part of what rounding may explain."""
    wrong: str = ""


def bench(shapes: Sequence[Shape], dtype: str, blocks: int) -> Iterator[Row]:
    """Check and time each shape. A shape with a wrong answer is not timed."""
    for shape in shapes:
        pair = Pair.draw(shape, dtype)
        try:
            worst = check(pair)
        except WrongAnswerError as error:
            yield Row(shape, {}, {}, str(error))
            continue
        timings = {kind: measure(calls(pair, kind), blocks) for kind in KINDS}
        yield Row(shape, timings, worst)


def machine(dtype: str) -> dict[str, Any]:
    """Where and with what the figures were measured."""
    import torch

    return {
        "grus": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
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


def head(dtype: str) -> list[str]:
    """The lines above the table."""
    found = machine(dtype)
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


def lines(row: Row) -> list[str]:
    """The line of one shape."""
    if row.wrong:
        return [f"{row.shape!s:22}  wrong answer, not timed: {row.wrong}"]
    cells = []
    for timing in row.timings.values():
        ours, theirs = (_time(timing.median(name)) for name in timing.blocks)
        cells.append(f"{ours:>9}  {theirs:>13}  {timing.ratio:4.2f}x")
    return ["  ".join([f"{row.shape!s:22}", *cells])]


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"


def as_json(rows: Sequence[Row], dtype: str) -> str:
    """Everything measured, block by block, in seconds."""
    found = []
    for row in rows:
        entry: dict[str, Any] = {"shape": asdict(row.shape)}
        if row.wrong:
            entry["wrong"] = row.wrong
        else:
            entry["error as a part of what rounding explains"] = row.worst
        for kind, timing in row.timings.items():
            medians = {name: timing.median(name) for name in timing.blocks}
            entry[kind] = {"median": medians, "ratio": timing.ratio, "blocks": timing.blocks}
        found.append(entry)
    return json.dumps({"machine": machine(dtype), "shapes": found}, indent=2) + "\n"
