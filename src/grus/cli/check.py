"""`grus check`: anyone's GRU against the vectors that others have failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grus.cli.output import VECTORS
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
    """Run somebody's GRU through the vectors; say what is wrong and why."""
    asked = [one for one in (backend, out, check) if one is not None]
    if len(asked) != 1:
        raise InputError("one of --backend, --out and --check is wanted")
    if gradients is not None and backend is None:
        raise InputError("--gradients goes with --backend")
    if dtype not in DTYPES:
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    found = _cell(cell)
    if out is not None:
        from grus.check.files import write

        write(out, found, seed)
        return
    from grus.check import Backend, check as run, failed, from_answers, load, report
    from grus.check.files import read

    judge: Judge
    if check is not None:
        judge = from_answers(found, read(check, found, seed), dtype, seed)
    else:
        own = load(gradients) if gradients else None
        judge = run(found, Backend(load(str(backend)), own, dtype), seed)
    typer.echo(report(judge), nl=False)
    if failed(judge):
        raise typer.Exit(1)


def _cell(name: str) -> Cell:
    found = find_cell(name)
    if found.name not in CELLS:
        raise InputError(f"--cell must be one of {', '.join(CELLS)}, got {name!r}")
    return found
