"""`grus trace`, `measure`, `flow` and `serve`: the values inside a network while it reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grus.cli.output import PICTURE, TRACE
from grus.equations import named, separate
from grus.equations.hold import read_values
from grus.equations.text import columns, counted
from grus.errors import InputError
from grus.traces import Trace, summaries

if TYPE_CHECKING:
    from grus.page import Session
    from grus.traces import Flow, Measures

Run = Annotated[Path, typer.Argument(help="A run's folder, a checkpoint file, or a trace, .npz.")]
Text = Annotated[
    str | None,
    typer.Option(
        help="What the model reads; a run's held-out text, at most 10,000 characters, by default."
    ),
]
File = Annotated[Path | None, typer.Option(help="A UTF-8 file to read instead.")]
Hold = Annotated[
    list[str] | None, typer.Option(help="Hold a value in every layer, as r=1; repeatable.")
]


def measure(
    run: Run,
    text: Text = None,
    file: File = None,
    hold: Hold = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, per unit, as JSON.")] = False,
    out: Annotated[Path | None, PICTURE.option("Draw gates, half-lives and norms")] = None,
) -> None:
    """Measure a trained model on a text: saturated gates, memory, resets, dead units, norms."""
    from grus.traces import HEAD, measures

    measured = measures(traced(run, text_of(text, file), held=held(hold)))
    if out is not None:
        _draw(measured, out)
    if as_json:
        typer.echo(json.dumps(measured.json(), allow_nan=False))
        return
    typer.echo(_table([HEAD, *measured.table()]))
    typer.echo()
    for state, factor in measured.keep.items():
        typer.echo(f"half-life of {state}: ln 2 / -mean(ln({factor})) steps; the median unit,")
        typer.echo("  and what 10 and 90 of 100 units stay below")
    typer.echo("left, right: share of the time that a gate is below 0.1, above 0.9")
    if measured.reset:
        typer.echo(f"reset: mean of 1 - {', 1 - '.join(measured.reset)}")
    typer.echo("dead: units whose state moves by less than 0.01 (standard deviation)")
    typer.echo("norm: of a layer's state, the mean over the steps")


def _draw(measures: Measures, out: Path) -> None:
    """Saturated gates, half-lives and norms in one figure; what the cell has not is left out."""
    from grus.pictures import half_lives, saturation, save, state_norms, style

    pictures: list[tuple[Any, Any]] = [
        (saturation, measures.left),
        (half_lives, measures.half_life),
        (state_norms, measures.norm),
    ]
    drawn = [draw for draw, numbers in pictures if numbers]
    if not drawn:
        raise InputError(f"cell {measures.cell.name} has no gates and no states: nothing to draw")
    # Below each other: every plot has room for its key at the right, and no place stays empty.
    figure = style.new_figure(8.0, 4.2 * len(drawn))
    for ax, draw in zip(figure.subplots(len(drawn), squeeze=False).ravel(), drawn, strict=True):
        draw(measures, ax=ax)
    save(figure, out)


def flow(
    what: Annotated[
        str, typer.Argument(help="Cells, with commas; or a run's folder or checkpoint file.")
    ],
    text: Text = None,
    file: File = None,
    lags: Annotated[int, typer.Option(help="Steps to look back.")] = 100,
    rows: Annotated[int, typer.Option(help="Cells: sequences; a run: places in the text.")] = 16,
    hidden: Annotated[int | None, typer.Option(help="Cells: hidden units; 64 by default.")] = None,
    gain: Annotated[
        float | None, typer.Option(help="Cells: factor of the recurrent weights; 1 by default.")
    ] = None,
    gate_bias: Annotated[
        list[str] | None,
        typer.Option(help="Cells: initial bias of a gate where there is one, as z=3; repeatable."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Cells: seed of the weights and inputs; 0 by default.")
    ] = None,
    hold: Hold = None,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, as JSON.")] = False,
    out: Annotated[Path | None, PICTURE.option("Draw it")] = None,
) -> None:
    """Norm of d(loss at t)/d(state at t-k) against k: does the gradient vanish or explode?"""
    from grus.traces import table

    if not separate(what):
        raise InputError("what to look at is missing: cells, as rnn,gru, or a run's folder or file")
    if what.lower().endswith(".npz"):
        raise InputError(f"{what} is a trace, which has no weights: gradient flow needs the run")
    options = {"hidden": hidden, "gain": gain, "seed": seed}
    fresh = {name: value for name, value in options.items() if value is not None}
    if _is_run(what):
        from grus.traces import flow_run

        ignored = ["gate-bias"] * bool(gate_bias) + list(fresh)
        if ignored:
            raise InputError(f"--{ignored[0]} is of cells with fresh weights; {what} is a run")
        flows = flow_run(what, text_of(text, file), lags=lags, rows=rows, held=held(hold))
    else:
        if text is not None or file:
            where = f"; ./{what} is a path" if _exists(what) else ""
            raise InputError(
                f"there is no run at {what[:200]}; cells with fresh weights read no text{where}"
            )
        fresh |= {"lags": lags, "rows": rows}
        flows = _of_cells(separate(what), held(hold), held(gate_bias), **fresh)
    if out is not None:
        from grus.pictures import gradient_flow as draw, save

        save(draw({flow.name: flow for flow in flows}), out)
    if as_json:
        typer.echo(json.dumps({"flows": [flow.json() for flow in flows]}, allow_nan=False))
        return
    typer.echo(_table(table(flows)))
    typer.echo()
    typer.echo("the norm of d(loss at t)/d(state at t-k), as a share of that at k = 0;")
    typer.echo("vanishing: below 1/1000 at the last lag; exploding: above 1000")
    if any(flow.verdict == "none" for flow in flows):
        typer.echo("none: nothing reaches the state at lag 0")


def held(texts: Sequence[str] | None) -> dict[str, float]:
    """``["r=1", "z=0"]`` or ``["r=1,z=0"]`` as values by name. Raises CellError."""
    return read_values(",".join(texts)) if texts else {}


def _is_run(what: str) -> bool:
    """True for a path that exists; the names of cells are never one."""
    names = [name.partition("[")[0].strip() for name in separate(what)]
    return not all(map(named, names)) and _exists(what)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name too long to be one
        return False


def _of_cells(
    names: list[str], values: dict[str, float], biases: dict[str, float], **options: Any
) -> list[Flow]:
    from grus.equations import cell, hold
    from grus.traces import gradient_flow

    flows = []
    for name in names:
        with_held = hold(name, **values)
        own_biases = {g: v for g, v in biases.items() if g in cell(with_held).families.get("b", ())}
        label = name if not values else with_held.name
        flows.append(gradient_flow(with_held, name=label, gate_bias=own_biases, **options))
    unknown = [g for g in biases if not any(g in f.cell.families.get("b", ()) for f in flows)]
    if unknown:
        raise InputError(f"no cell of {', '.join(names)} has a bias of a gate {unknown[0][:60]!r}")
    return flows


def text_of(text: str | None, file: Path | None) -> str | None:
    """The text of ``--text`` or ``--file``; None without either."""
    if file is None:
        return text
    if text is not None:
        raise InputError("--text and --file are two texts; give one of them")
    from grus.models import decoded

    try:
        return decoded(file.read_bytes(), f"--file {file}")
    except OSError as error:
        raise InputError(f"--file {file} cannot be read: {error}") from None


def traced(run: Path, text: str | None, **asked: Any) -> Trace:
    """The trace of a run's model reading a text, or one saved as .npz."""
    from grus.traces import trace_text

    if run.suffix.lower() != ".npz":
        return trace_text(run, text, **asked)
    if text is not None or any(asked.values()):
        raise InputError(
            f"{run} is a trace that was recorded; options of recording do not go with it"
        )
    return Trace.load(run)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right."""
    return "\n".join(columns(rows, right=range(1, len(rows[0]))))


def trace(
    run: Run,
    text: Annotated[str | None, typer.Option("--text", help="What the model reads.")] = None,
    file: File = None,
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
    hold: Hold = None,
    out: Annotated[Path | None, TRACE.option("Arrays, a page or a picture")] = None,
) -> None:
    """Record the gates and states of a trained model while it reads a text."""
    read = text_of(text, file)
    if read is None and run.suffix.lower() != ".npz":
        raise InputError("a model is traced while it reads: give --text or --file")
    recorded = traced(
        run,
        read,
        values=[name.strip() for name in values.split(",")] if values else None,
        layers=layers or None,
        steps=steps or None,
        units=units or None,
        held=held(hold),
    )
    if out is None:
        _print(recorded)
    elif out.suffix.lower() == ".npz":
        recorded.save(out)
    else:
        _draw_trace(recorded, out)


def _draw_trace(trace: Trace, out: Path) -> None:
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
    for summary in summaries(trace):
        low, mean, high = (f"{number:.4f}" for number in (summary.low, summary.mean, summary.high))
        rows.append((summary.name, str(summary.layer), low, mean, high))
    typer.echo(_table(rows))
    steps, units = counted(len(trace.steps), "step"), counted(len(trace.units), "unit")
    typer.echo(f"cell {trace.cell.name}, {steps}, {units}")


def serve(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run's folder; without it a small model is trained, ten seconds."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of 127.0.0.1; 0 takes a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Leave the browser alone.")] = False,
) -> None:
    """Open a page on this machine: type text, watch gates and predictions, step by step."""
    from grus.page import server

    server.check_installed()
    listening = server.bound(port)
    with listening:
        session = _small() if run is None else _trained(run)
        address = f"http://{server.HOST}:{listening.getsockname()[1]}/"
        print(f"{address}  (this machine only; Ctrl-C ends it)", flush=True)
        server.serve(session, listening, browser=not no_open)
    print("ended")


def _trained(run: Path) -> Session:
    """The best model of a run of `grus train`."""
    from grus.models import checkpoint, kept_run
    from grus.page import Session, from_model

    path = kept_run.find(run)
    saved = checkpoint.load(path)
    step = f"step {saved.progress.step:,}"
    return Session(from_model(saved.model()), f"{path}, {step}")


def _small() -> Session:
    """A model trained on the spot, on the built-in text."""
    from rich.progress import BarColumn, Progress, TextColumn

    from grus.models import BUILT_IN
    from grus.page import SECONDS, Session, from_model, small_model

    print(f"no run named: a small GRU learns {BUILT_IN} for {SECONDS:.0f} seconds", flush=True)
    bar = Progress(BarColumn(), TextColumn("{task.fields[loss]}"), transient=True)
    with bar as progress:
        task = progress.add_task("", total=1.0, loss="")
        model = small_model(
            lambda spent, nats: progress.update(task, completed=spent, loss=f"loss {nats:.2f}")
        )
    return Session(from_model(model), f"trained for {SECONDS:.0f} seconds on {BUILT_IN}")
