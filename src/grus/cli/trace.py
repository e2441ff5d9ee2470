"""`grus trace`: what a trained model computes while it reads a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from grus.cli.measure import HOLD, held
from grus.errors import InputError
from grus.traces import Trace
from grus.traces.summary import summaries

FORMS = (".npz", ".html", ".svg", ".png")


def trace(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a checkpoint file.")],
    text: Annotated[str, typer.Option("--text", help="What the model reads.")],
    values: Annotated[
        str, typer.Option("--values", help="Which: z,r or h. Default gates, candidates, states")
    ] = "",
    layers: Annotated[str, typer.Option("--layers", help="Which layers: 0, 0,2 or 0:2")] = "",
    steps: Annotated[str, typer.Option("--steps", help="Which steps: 10:20")] = "",
    units: Annotated[str, typer.Option("--units", help="Which units: 3,7 or 0:16")] = "",
    hold: Annotated[list[str] | None, typer.Option("--hold", help=HOLD)] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="FILE.npz: arrays; .html: a page; .svg, .png: a picture"),
    ] = None,
) -> None:
    """Record the gates and states of a trained model while it reads a text."""
    from grus.traces.checkpoint import trace_text

    if out is not None and out.suffix not in FORMS:
        raise InputError(f"--out takes FILE{', FILE'.join(FORMS)}, got {out}")
    found = trace_text(
        run,
        text,
        values=[name.strip() for name in values.split(",")] if values else None,
        layers=layers or None,
        steps=steps or None,
        units=units or None,
        held=held(hold),
    )
    if out is None:
        _print(found)
    elif out.suffix == ".npz":
        found.save(out)
    else:
        _draw(found, out)


def _draw(trace: Trace, out: Path) -> None:
    """An interactive page of everything, or a picture of the first layer."""
    from grus import pictures
    from grus.pictures import report

    if out.suffix == ".html":
        report.write(trace, out)
    else:
        pictures.save(pictures.gates(trace), out)


def _print(trace: Trace) -> None:
    """The range of every value."""
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for name in ("value", "layer", "least", "mean", "greatest"):
        table.add_column(name, justify="left" if name == "value" else "right", no_wrap=True)
    for one in summaries(trace):
        numbers = (f"{number:.4f}" for number in (one.low, one.mean, one.high))
        table.add_row(one.name, str(one.layer), *numbers)
    Console().print(table)
    steps = f"{len(trace.steps)} step{'' if len(trace.steps) == 1 else 's'}"
    typer.echo(f"cell {trace.cell.name}, {steps}, {len(trace.units)} of its units")
