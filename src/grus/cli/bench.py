"""`grus bench`: grus' GRU and torch's, right first, then timed in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grus.errors import InputError


def bench(
    shapes: Annotated[
        list[str] | None,
        typer.Option(help="T,B,I,H; repeatable, or several in one text with blanks between."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's by default.")] = None,
    blocks: Annotated[int, typer.Option(help="Blocks of each layer, in turns.")] = 9,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Time forward and forward+backward against torch.nn.GRU; wrong answers are not timed.

    The last column is with the gradient of x, the one before it without.
    """
    from grus.inspect import bench as benchmark
    from grus.inspect.bench.pair import DTYPES

    if dtype not in DTYPES:
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    for name, number in (("--blocks", blocks), ("--threads", threads)):
        if number is not None and number < 1:
            raise InputError(f"{name} must be at least 1, got {number}")
    if json is not None and (json.is_dir() or not json.parent.is_dir()):
        raise InputError(f"--json must be a file in a folder that exists, got {json}")
    texts = [text for several in shapes or [] for text in several.split()]
    asked = [benchmark.Shape.parse(text) for text in texts] or list(benchmark.SHAPES)
    _set_threads(threads)
    print("\n".join(benchmark.head(dtype)), flush=True)
    rows = []
    for row in benchmark.bench(asked, dtype, blocks):
        rows.append(row)
        print("\n".join(benchmark.lines(row)), flush=True)
    if json is not None:
        from grus.models.storage import replace

        replace(json, benchmark.as_json(rows, dtype).encode())
    if any(row.wrong for row in rows):
        raise typer.Exit(1)


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
