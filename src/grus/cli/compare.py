"""`grus compare`: cells trained on the same task or text, side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grus.atomic_file import replace
from grus.cli.output import RESULTS, check_choice
from grus.cli.training import Clip, Connect, Threads, stopping
from grus.equations import CONNECTIONS
from grus.errors import InputError
from grus.models import Settings, Source, read

if TYPE_CHECKING:
    from grus.comparison import Course

CELLS = "rnn,gru,gru_reset_before,lstm"
REPORTS = 20  # in a budget of steps
REPORT_EVERY = 50  # steps, in a budget of seconds
OF_TASKS = {"hidden": 32, "lr": 0.01, "dropout": 0.0}
OF_TEXT = {"hidden": 128, "lr": 0.002, "dropout": 0.0}
LAG, STEPS = 200, 1000

Learned = Annotated[Path | None, typer.Argument(help="UTF-8 text to learn from.")]
TaskName = Annotated[str | None, typer.Option(help="adding or copy, instead of FILE.")]
Lag = Annotated[int | None, typer.Option(help=f"Steps to remember over; {LAG} by default.")]
Batch = Annotated[int, typer.Option(help="Sequences read side by side.")]
SeqLen = Annotated[int, typer.Option(help="Text: steps back-propagated through.")]
Rate = Annotated[
    float | None, typer.Option(help="Learning rate; 0.01 for a task, 0.002 for text by default.")
]


def compare(
    file: Learned = None,
    task: TaskName = None,
    lag: Lag = None,
    cells: Annotated[str, typer.Option(help="Cells' names, or FILE.py:Name, with commas.")] = CELLS,
    match: Annotated[str, typer.Option(help="What is equal: params, hidden or time.")] = "params",
    hidden: Annotated[
        int | None,
        typer.Option(help="Units of the costliest cell; 32 for a task, 128 for text by default."),
    ] = None,
    layers: Annotated[int, typer.Option(help="Recurrent layers of every cell.")] = 1,
    connect: Connect = "",
    steps: Annotated[
        int | None, typer.Option(help=f"Train each run that many steps; {STEPS} by default.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Train each run that long.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each cell, each with another seed.")] = 5,
    seed: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 0,
    gate_bias: Annotated[
        list[str] | None,
        typer.Option(
            help="Initial bias of a gate, as z=1 or gru:z=1; repeatable; none: as drawn. For tasks"
            " the gates keep the state for about the lag by default."
        ),
    ] = None,
    batch: Batch = Settings.batch,
    seq_len: SeqLen = Settings.seq_len,
    lr: Rate = None,
    clip: Clip = Settings.clip,
    threads: Threads = None,
    out: Annotated[
        list[Path] | None, RESULTS.option("The learning curves, or all numbers; repeatable")
    ] = None,
) -> None:
    """Train cells on the same data with the same budget and seeds; a winner only if there is one.

    Ctrl-C ends the comparison and shows the runs that were finished.
    """
    options = dict(locals())
    from grus.cli.progress import audience
    from grus.comparison import (
        announcement,
        as_json,
        compare as train_all,
        contestants,
        draw_curves,
        expected_seconds,
        sized,
        spoken,
        table,
    )

    check_course(options)
    _check(options)
    settings = settings_of(options)
    course = course_of(options, settings)
    memory = math.log(course.length) - 1 if task else 0.0
    unsized = contestants(cells, gate_bias or [], memory, options["hidden"])
    contest = sized(course, unsized, match)
    print("\n".join(announcement(course, contest, seeds, match)), flush=True)
    with stopping() as stopped:
        taken = expected_seconds(course, contest, seeds)
        print(f"about {spoken(taken)} by a first measurement; Ctrl-C shows what is there")
        with audience() as shown:
            outcome = train_all(
                course, contest, range(seed, seed + seeds), shown, lambda: bool(stopped)
            )
    print("\n".join(["", *table(course, outcome)]))
    for path in out or ():
        if path.suffix.lower() == ".json":
            replace(path, as_json(course, outcome, match).encode())
        elif outcome.trials:
            draw_curves(course, outcome, path)
    if stopped:
        raise typer.Exit(128 + stopped[0])


def _check(options: dict[str, Any]) -> None:
    """Raise InputError for options of a comparison that cannot be."""
    from grus.comparison import MATCHES, check_figure

    check_choice("--match", options["match"], MATCHES)
    for path in options["out"] or ():
        if path.suffix.lower() != ".json":
            check_figure(path)


def check_course(options: dict[str, Any]) -> None:
    """Raise InputError for options that cannot be, before anything is trained; fill in defaults."""
    file, task, lag = (options[n] for n in ("file", "task", "lag"))
    if (file is None) == (task is None):
        raise InputError("give a text FILE or --task, one of the two")
    if task is None and lag is not None:
        raise InputError("--lag is of a --task, not of a text")
    if not 1 <= options["seeds"] <= 1000:
        raise InputError(f"--seeds must lie in 1..1000, got {options['seeds']}")
    if options["seed"] < 0:
        raise InputError(f"--seed must be 0 or more, got {options['seed']}")
    for name, value in (OF_TEXT if task is None else OF_TASKS).items():
        options[name] = value if options.get(name) is None else options[name]
    for name in ("hidden", "layers"):
        if options.get(name, 1) < 1:
            raise InputError(f"--{name} must be at least 1, got {options[name]}")
    if connect := options.get("connect", ""):
        check_choice("--connect", connect, CONNECTIONS[1:])


def settings_of(options: dict[str, Any]) -> Settings:
    """How each run is trained."""
    import torch

    kept = {n: options[n] for n in ("seq_len", "batch", "lr", "clip", "dropout")}
    steps, seconds = options["steps"], options["seconds"]
    if steps is None and seconds is None:
        steps = STEPS
    every = max(1, -(-steps // REPORTS)) if steps else REPORT_EVERY
    threads = torch.get_num_threads() if options["threads"] is None else options["threads"]
    return Settings(**kept, steps=steps, seconds=seconds, threads=threads, report_every=every)


def course_of(options: dict[str, Any], settings: Settings) -> Course:
    """The task or the text that cells are trained on."""
    from grus.comparison import Stack, TaskCourse, TextCourse
    from grus.models import TASKS

    stack = Stack(options.get("layers", 1), options.get("connect", ""))
    if options["task"] is None:
        source = Source(str(options["file"].absolute()))
        return TextCourse(source, read(source), settings, stack=stack)
    check_choice("--task", options["task"], TASKS)
    lag = LAG if options["lag"] is None else options["lag"]
    return TaskCourse(TASKS[options["task"]](lag), settings, stack)
