"""`grus trace`: what a trained model computes while it reads a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grus.cli.measure import FILE, HOLD, columns, held, text_of, traced
from grus.cli.output import TRACE
from grus.equations.text import counted
from grus.errors import InputError
from grus.traces import Trace
from grus.traces.summary import summaries


def trace(
    run: Annotated[
        Path, typer.Argument(help="A run's folder, a checkpoint file, or a trace, .npz.")
    ],
    text: Annotated[str | None, typer.Option("--text", help="What the model reads.")] = None,
    file: Annotated[Path | None, typer.Option(help=FILE)] = None,
    values: Annotated[
        str,
        typer.Option("--values", help="Which, as z,r; gates, candidates and states by default."),
    ] = "",
    layers: Annotated[
        str, typer.Option("--layers", help="Which layers, as 0 or 0,2 or 0:2; all by default.")
    ] = "",
    steps: Annotated[
        str, typer.Option("--steps", help="Which steps, as 10:20; all by default.")
    ] = "",
    units: Annotated[
        str, typer.Option("--units", help="Which units, as 3,7 or 0:16; all by default.")
    ] = "",
    hold: Annotated[list[str] | None, typer.Option("--hold", help=HOLD)] = None,
    out: Annotated[Path | None, TRACE.option("Arrays, a page or a picture")] = None,
) -> None:
    """Record the gates and states of a trained model while it reads a text."""
    read = text_of(text, file)
    if read is None and run.suffix.lower() != ".npz":
        raise InputError("a model is traced while it reads: give --text or --file")
    found = traced(
        run,
        read,
        values=[name.strip() for name in values.split(",")] if values else None,
        layers=layers or None,
        steps=steps or None,
        units=units or None,
        held=held(hold),
    )
    if out is None:
        _print(found)
    elif out.suffix.lower() == ".npz":
        found.save(out)
    else:
        _draw(found, out)


def _draw(trace: Trace, out: Path) -> None:
    """An interactive page of everything, or a picture of the first layer."""
    from grus import pictures
    from grus.pictures import report

    if out.suffix.lower() == ".html":
        report.write(trace, out)
    else:
        pictures.save(pictures.gates(trace), out)


def _print(trace: Trace) -> None:
    """The range of every value."""
    rows = [("value", "layer", "least", "mean", "greatest")]
    for one in summaries(trace):
        low, mean, high = (f"{number:.4f}" for number in (one.low, one.mean, one.high))
        rows.append((one.name, str(one.layer), low, mean, high))
    typer.echo(columns(rows))
    steps, units = counted(len(trace.steps), "step"), counted(len(trace.units), "unit")
    typer.echo(f"cell {trace.cell.name}, {steps}, {units}")
