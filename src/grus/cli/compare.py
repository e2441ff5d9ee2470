"""`grus compare`: cells trained on the same task or text, side by side."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grus.errors import InputError
from grus.models.settings import Settings
from grus.models.text import Source, read

if TYPE_CHECKING:
    from grus.comparison.tasks import Course

CELLS = "rnn,gru,gru_reset_before,lstm"
REPORTS = 20  # in a budget of steps
REPORT_EVERY = 50  # steps, in a budget of seconds
OF_TASKS = {"hidden": 32, "lr": 0.01, "dropout": 0.0}
OF_TEXT = {"hidden": 128, "lr": 0.002, "dropout": 0.0}
LAG, STEPS = 200, 1000


def compare(
    file: Annotated[Path | None, typer.Argument(help="UTF-8 text to learn from.")] = None,
    task: Annotated[str | None, typer.Option(help="adding or copy, instead of FILE.")] = None,
    lag: Annotated[
        int | None, typer.Option(help=f"Steps to remember over; {LAG} by default.")
    ] = None,
    cells: Annotated[str, typer.Option(help="Names, or FILE.py:Name, with commas.")] = CELLS,
    match: Annotated[str, typer.Option(help="What is equal: params, hidden or time.")] = "params",
    hidden: Annotated[
        int | None,
        typer.Option(help="Units of the costliest cell; 32 for a task, 128 for text by default."),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Of each run: steps, as 1000, or seconds, as 60s.")
    ] = str(STEPS),
    seeds: Annotated[int, typer.Option(help="Seeds of each cell: 0, 1, ...")] = 5,
    gate_bias: Annotated[
        list[str] | None,
        typer.Option(
            help="Initial bias of a gate, as z=1 or gru:z=1; repeatable; none: as drawn. For tasks"
            " the gates keep the state for about the lag by default."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences of a step.")] = Settings.batch,
    seq_len: Annotated[
        int, typer.Option(help="Text: steps back-propagated through.")
    ] = Settings.seq_len,
    lr: Annotated[
        float | None, typer.Option(help="Adam's rate; 0.01 for a task, 0.002 for text by default.")
    ] = None,
    clip: Annotated[
        float, typer.Option(help="Largest norm of the gradients; 0: any.")
    ] = Settings.clip,
    threads: Annotated[int | None, typer.Option(help="CPU threads; torch's by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the learning curves here: .svg or .png.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything to this file.")] = None,
) -> None:
    """Train cells on the same data with the same budget and seeds; a winner only if there is one.

    Ctrl-C ends the comparison and shows the runs that were finished.
    """
    options = dict(locals())
    from grus.cli.audience import audience
    from grus.cli.train import stopping
    from grus.comparison import figure, plan as plans, run, table
    from grus.comparison.contestants import contestants

    _check(options)
    settings = _settings(options)
    course = _course(options, settings)
    memory = math.log(course.length) - 1 if task else 0.0
    named = contestants(cells, gate_bias or [], memory, options["hidden"])
    found = run.sized(course, named, match)
    print("\n".join(plans.lines(course, found, seeds, match)), flush=True)
    with stopping() as stopped:
        taken = plans.seconds(course, found, seeds)
        print(f"about {plans.spoken(taken)} by a first measurement; Ctrl-C shows what is there")
        with audience() as shown:
            outcome = run.compare(course, found, range(seeds), shown, lambda: bool(stopped))
    print("\n".join(["", *table.table(course, outcome)]))
    if json is not None:
        _write(json, table.as_json(course, outcome, match))
    if out is not None and outcome.trials:
        figure.draw(course, outcome, out)
    if stopped:
        raise typer.Exit(128 + stopped[0])


def _check(options: dict[str, Any]) -> None:
    """What is found wrong before anything is trained."""
    from grus.comparison import figure
    from grus.comparison.contestants import MATCHES

    file, task, lag, out, json = (options[n] for n in ("file", "task", "lag", "out", "json"))
    if (file is None) == (task is None):
        raise InputError("give a text FILE or --task, one of the two")
    if task is None and lag is not None:
        raise InputError("--lag is of a --task, not of a text")
    if options["match"] not in MATCHES:
        raise InputError(f"--match must be one of {', '.join(MATCHES)}, got {options['match']!r}")
    if not 1 <= options["seeds"] <= 1000:
        raise InputError(f"--seeds must lie in 1..1000, got {options['seeds']}")
    if out is not None:
        figure.check(out)
    if json is not None and (json.is_dir() or not json.parent.is_dir()):
        raise InputError(f"--json must be a file in a folder that exists, got {json}")
    for name, value in (OF_TEXT if task is None else OF_TASKS).items():
        options[name] = value if options.get(name) is None else options[name]
    if options["hidden"] < 1:
        raise InputError(f"--hidden must be at least 1, got {options['hidden']}")


def _settings(options: dict[str, Any]) -> Settings:
    import torch

    given = {n: options[n] for n in ("seq_len", "batch", "lr", "clip", "dropout")}
    steps, seconds = _budget(options["budget"])
    every = max(1, -(-steps // REPORTS)) if steps else REPORT_EVERY
    threads = torch.get_num_threads() if options["threads"] is None else options["threads"]
    return Settings(**given, steps=steps, seconds=seconds, threads=threads, report_every=every)


def _budget(text: str) -> tuple[int | None, float | None]:
    """``"1000"`` is (1000, None), ``"60s"`` is (None, 60.0)."""
    if re.fullmatch(r"\d{1,15}", text):
        return int(text), None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", text):
        return None, float(text[:-1])
    raise InputError(f"--budget must be steps, as 1000, or seconds, as 60s, got {text[:80]!r}")


def _course(options: dict[str, Any], settings: Settings) -> Course:
    from grus.comparison.tasks import TaskCourse, TextCourse
    from grus.models.tasks import TASKS

    if options["task"] is None:
        source = Source(str(options["file"].absolute()))
        return TextCourse(source, read(source), settings)
    if options["task"] not in TASKS:
        raise InputError(f"--task must be one of {', '.join(TASKS)}, got {options['task']!r}")
    lag = LAG if options["lag"] is None else options["lag"]
    return TaskCourse(TASKS[options["task"]](lag), settings)


def _write(path: Path, text: str) -> None:
    from grus.models.storage import replace

    replace(path, text.encode())
