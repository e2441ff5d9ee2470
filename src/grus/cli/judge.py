"""`grus check` and `grus bench`: whether a GRU is right, and how fast this project's is."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grus.atomic_file import replace
from grus.cli.output import FOLDER, MEASURED, NUMBERS, VECTORS, check_choice
from grus.cli.training import Threads
from grus.equations import Cell, cell as find_cell
from grus.errors import InputError

if TYPE_CHECKING:
    from grus.check import Judge


CELLS = ("gru", "gru_admit", "gru_reset_before", "gru_reset_before_admit")
DTYPES = ("float32", "float64")


def check(
    backend: Annotated[
        str | None, typer.Option(help="MODULE:FUNCTION of a GRU over NumPy arrays.")
    ] = None,
    gradients: Annotated[
        str | None, typer.Option(help="MODULE:FUNCTION of its gradients, if it has them.")
    ] = None,
    cell: Annotated[str, typer.Option(help=f"What it should be: {', '.join(CELLS)}.")] = CELLS[0],
    dtype: Annotated[str, typer.Option(help="What it is given: float32 or float64.")] = DTYPES[0],
    seed: Annotated[int, typer.Option(help="Seed of the numbers in the vectors.")] = 0,
    out: Annotated[Path | None, VECTORS.option("Write the vectors to this file")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Judge the answers in this .json or .npz file.")
    ] = None,
) -> None:
    """Run a GRU through the vectors; say what is wrong and why."""
    asked = [answer for answer in (backend, out, check) if answer is not None]
    if len(asked) != 1:
        raise InputError("one of --backend, --out and --check is wanted")
    if gradients is not None and backend is None:
        raise InputError("--gradients goes with --backend")
    check_choice("--dtype", dtype, DTYPES)
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    wanted = _cell(cell)
    if out is not None:
        from grus.check import write_vectors

        write_vectors(out, wanted, seed)
        return
    from grus.check import Backend, check as run, failed, from_answers, load, read_answers, report

    judge: Judge
    if check is not None:
        judge = from_answers(wanted, read_answers(check, wanted, seed), dtype, seed)
    else:
        backward = load(gradients) if gradients else None
        judge = run(wanted, Backend(load(str(backend)), backward, dtype), seed)
    typer.echo(report(judge), nl=False)
    if failed(judge):
        raise typer.Exit(1)


def _cell(name: str) -> Cell:
    cell = find_cell(name)
    if cell.name not in CELLS:
        raise InputError(f"--cell must be one of {', '.join(CELLS)}, got {name!r}")
    return cell


BLOCKS = 9


def bench(
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            help="T,B,I,H; repeatable, or several with blanks between; lstm:T,B,I,H, and"
            " bidirectional:, layers3: or step: in its place."
        ),
    ] = None,
    threads: Threads = None,
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
        if dtype != "float32" or blocks != BLOCKS:
            raise InputError("--dtype and --blocks do not go with --peers: see --seconds")
        _peers(texts, quick, threads, seconds, out)
        return
    if quick:
        raise InputError("--quick goes with --peers")
    _torch(texts, threads, blocks, dtype, out)


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
    table = bench_peers(problems, folder, threads, seconds, say=partial(print, flush=True))
    print(f"{folder}: peers.md, peers.json, peers.png")
    if any("wrong" in reason for result in table.results for reason in result.reasons.values()):
        raise typer.Exit(1)


def _torch(
    texts: list[str], threads: int | None, blocks: int, dtype: str, out: Path | None
) -> None:
    """The benchmark against torch alone."""
    import torch

    from grus_benchmarks import against_torch
    from grus_benchmarks.problem import AGAINST_TORCH, DTYPES, Problem

    check_choice("--dtype", dtype, DTYPES)
    if blocks < 1:
        raise InputError(f"--blocks must be at least 1, got {blocks}")
    if out is not None:
        NUMBERS.free(out, "--out")
    problems = [Problem.parse(text, dtype) for text in texts or AGAINST_TORCH]
    threads = threads or torch.get_num_threads()
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
