"""`grus bench`: grus' layers and those of torch, or of every framework, right and then timed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from grus.cli.output import FOLDER, MEASURED, NUMBERS
from grus.dialects.files.whole import replace
from grus.errors import InputError

BLOCKS = 9


def bench(
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            help="T,B,I,H; repeatable, or several with blanks between; lstm:T,B,I,H, and"
            " bidirectional:, layers3: or step: in its place."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's by default.")] = None,
    blocks: Annotated[int, typer.Option(help="Blocks of each layer, in turns.")] = BLOCKS,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    peers: Annotated[
        bool,
        typer.Option(
            "--peers", help="Against every framework installed, each in a process of its own."
        ),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="With --peers: four rows.")] = False,
    seconds: Annotated[
        float, typer.Option(help="With --peers: time for each peer and kind of a row.")
    ] = 0.4,
    out: Annotated[
        Path | None,
        MEASURED.option("All figures: a .json file; with --peers a folder, for three files."),
    ] = None,
) -> None:
    """Time forward and forward+backward against torch.nn.GRU; wrong answers are not timed.

    The last column is with the gradient of x, the one before it without.
    """
    texts = [text for several in shapes or [] for text in several.split()]
    if threads is not None and threads < 1:
        raise InputError(f"--threads must be at least 1, got {threads}")
    if peers:
        _set_others(dtype, blocks)
        _peers(texts, quick, threads, seconds, out)
        return
    if quick:
        raise InputError("--quick goes with --peers")
    _torch(texts, threads, blocks, dtype, out)


def _set_others(dtype: str, blocks: int) -> None:
    if dtype != "float32" or blocks != BLOCKS:
        raise InputError("--dtype and --blocks do not go with --peers: see --seconds")


def _peers(
    texts: list[str], quick: bool, threads: int | None, seconds: float, out: Path | None
) -> None:
    """The benchmark with peers."""
    from grus_benchmarks.problem import QUICK, TABLE, Problem
    from grus_benchmarks.run_peers import bench_peers

    if not 0 < seconds < 1e4:
        raise InputError(f"--seconds must be above 0 and below 10,000, got {seconds:g}")
    folder = out or Path("benchmark")
    FOLDER.free(folder, "--out")
    problems = [Problem.parse(text) for text in texts] or list(QUICK if quick else TABLE)
    threads = threads or _available()
    folder.mkdir(parents=True, exist_ok=True)
    found = bench_peers(problems, folder, threads, seconds, say=partial(print, flush=True))
    print(f"{folder}: peers.md, peers.json, peers.png")
    if any("wrong" in reason for result in found.results for reason in result.reasons.values()):
        raise typer.Exit(1)


def _torch(
    texts: list[str], threads: int | None, blocks: int, dtype: str, out: Path | None
) -> None:
    """The benchmark against torch alone."""
    from grus_benchmarks import against_torch
    from grus_benchmarks.problem import AGAINST_TORCH, DTYPES, Problem

    if dtype not in DTYPES:
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if blocks < 1:
        raise InputError(f"--blocks must be at least 1, got {blocks}")
    if out is not None:
        NUMBERS.free(out, "--out")
    problems = [Problem.parse(text, dtype) for text in texts or AGAINST_TORCH]
    threads = threads or _torchs_threads()
    print("\n".join(against_torch.head(dtype, threads)), flush=True)
    results = []
    for result in against_torch.bench(problems, threads, blocks):
        results.append(result)
        print("\n".join(against_torch.lines(result)), flush=True)
    if out is not None:
        replace(out, against_torch.as_json(results, dtype, threads).encode())
    if any(map(against_torch.failure, results)):
        raise typer.Exit(1)


def _available() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _torchs_threads() -> int:
    import torch

    return torch.get_num_threads()
