"""`grus serve`: a page to type text into and watch a network read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from grus.page import Session


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
        where = f"http://{server.HOST}:{listening.getsockname()[1]}/"
        print(f"{where}  (this machine only; Ctrl-C ends it)", flush=True)
        server.serve(session, listening, browser=not no_open)
    print("ended")


def _trained(run: Path) -> Session:
    """The best model of a run of `grus train`."""
    from grus.models import checkpoint, run as runs
    from grus.page import Session, from_model

    path = runs.find(run)
    found = checkpoint.load(path)
    step = f"step {found.progress.step:,}"
    return Session(from_model(found.model()), f"{path}, {step}")


def _small() -> Session:
    """A model trained here and now, on no file."""
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
